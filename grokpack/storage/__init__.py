"""Files, URLs and buckets: what opens, reads, writes and removes them, except TensorStore.

`reading` reads files wherever they lie; `local_backend` is that of the file system, `http` that of
URLs, and `decompression` reads compressed files as their contents. `part_files` writes local files,
and `open_sink` opens the destination of an output, a folder or a bucket.
"""

from __future__ import annotations

from grokpack.storage.backend import ReadOverhead, Stamp
from grokpack.storage.fault_injection import faults
from grokpack.storage.io_context import interruptible, stopping, with_context
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
from grokpack.storage.open_sink import is_bucket, sink_of
from grokpack.storage.ownership import Mark, WrittenParts
from grokpack.storage.part_files import (
    PART,
    allocated_bytes,
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
from grokpack.storage.reading import (
    FileBytes,
    absolute,
    exists,
    explain_absence,
    forget,
    is_file,
    is_folder,
    lines,
    map_all,
    names,
    parent,
    read_into,
    read_json,
    read_overhead,
    read_rows,
    read_whole,
    size_of,
    stamp,
    stored,
    tidy,
    tree,
    utf8,
)
from grokpack.storage.sink_protocol import MOST_OBJECT_BYTES, FileWriter, Sink
from grokpack.storage.urls import is_url

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
    "WrittenParts",
    "absolute",
    "allocated_bytes",
    "append_line",
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
    "read_overhead",
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
