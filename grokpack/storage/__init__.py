"""The only package that opens, reads, writes, renames or removes files.

`sources` reads, wherever a file lies; `local` is the medium that everything has, `remote` that of
URLs; `sealed` reads compressed files as what they stand for; `parts` writes local files, `sinks`
gives a run its output's place, a folder or a bucket.
"""

from __future__ import annotations

from grokpack.storage.backend import ReadOverhead, Stamp
from grokpack.storage.fault_injection import faults
from grokpack.storage.interruption import interruptible, stopping, with_context
from grokpack.storage.locks import locked
from grokpack.storage.new_files import (
    PartWriter,
    append_line,
    is_temporary,
    make_folder,
    new_file,
    refuse_existing,
    remove,
    sync_folder,
    write_whole,
)
from grokpack.storage.ownership import Mark, Written
from grokpack.storage.reading import (
    FileBytes,
    absolute,
    burden,
    exists,
    explain_absence,
    forget,
    is_file,
    is_folder,
    kvstore,
    lines,
    map_all,
    names,
    parent,
    read_into,
    read_json,
    read_rows,
    read_whole,
    size_of,
    stamp,
    stored,
    tidy,
    tree,
    utf8,
)
from grokpack.storage.sink import MOST_OBJECT_BYTES, FileWriter, Sink
from grokpack.storage.sinks import is_bucket, sink_of
from grokpack.storage.urls import is_url
from grokpack.storage.writing import (
    PART,
    allocated_bytes,
    cache_folder,
    clear_folder,
    files_lost,
    free_bytes,
    in_the_way,
    is_link,
    is_writable,
    nearest_folder,
    publish,
    remove_empty_folders,
    scratch_file,
    scratch_memory,
)

__all__ = [
    "MOST_OBJECT_BYTES",
    "PART",
    "FileBytes",
    "FileWriter",
    "Mark",
    "PartWriter",
    "ReadOverhead",
    "Sink",
    "Stamp",
    "Written",
    "absolute",
    "allocated_bytes",
    "append_line",
    "burden",
    "cache_folder",
    "clear_folder",
    "exists",
    "explain_absence",
    "faults",
    "files_lost",
    "forget",
    "free_bytes",
    "in_the_way",
    "interruptible",
    "is_bucket",
    "is_file",
    "is_folder",
    "is_link",
    "is_temporary",
    "is_url",
    "is_writable",
    "kvstore",
    "lines",
    "locked",
    "make_folder",
    "map_all",
    "names",
    "nearest_folder",
    "new_file",
    "parent",
    "publish",
    "read_into",
    "read_json",
    "read_rows",
    "read_whole",
    "refuse_existing",
    "remove",
    "remove_empty_folders",
    "scratch_file",
    "scratch_memory",
    "sink_of",
    "size_of",
    "stamp",
    "stopping",
    "stored",
    "sync_folder",
    "tidy",
    "tree",
    "utf8",
    "with_context",
    "write_whole",
]
