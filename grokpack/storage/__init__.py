"""The only package that opens, reads, writes, renames or removes files.

`sources` reads, wherever a file lies; `local` is the medium that everything has, `remote` that of
URLs; `sealed` reads compressed files as what they stand for; `parts` writes.
"""

from __future__ import annotations

from grokpack.storage.burden import Burden
from grokpack.storage.errand import NO_FAULT_OF_FILES, carried, interruptible
from grokpack.storage.faults import faults
from grokpack.storage.parts import (
    PART,
    PartWriter,
    allocated_bytes,
    append_line,
    create_part,
    free_bytes,
    in_the_way,
    locked,
    make_folder,
    nearest_folder,
    publish,
    remove,
    remove_empty_folders,
    remove_folder,
    scratch_file,
    sync_folder,
    write_whole,
)
from grokpack.storage.sources import (
    FileBytes,
    Stamp,
    absolute,
    burden,
    each,
    exists,
    explain_absence,
    forget,
    is_folder,
    lines,
    names,
    parent,
    read_into,
    read_json,
    read_rows,
    size_of,
    stamp,
    stored,
    tidy,
    tree,
)
from grokpack.storage.urls import is_url

__all__ = [
    "NO_FAULT_OF_FILES",
    "PART",
    "Burden",
    "FileBytes",
    "PartWriter",
    "Stamp",
    "absolute",
    "allocated_bytes",
    "append_line",
    "burden",
    "carried",
    "create_part",
    "each",
    "exists",
    "explain_absence",
    "faults",
    "forget",
    "free_bytes",
    "in_the_way",
    "interruptible",
    "is_folder",
    "is_url",
    "lines",
    "locked",
    "make_folder",
    "names",
    "nearest_folder",
    "parent",
    "publish",
    "read_into",
    "read_json",
    "read_rows",
    "remove",
    "remove_empty_folders",
    "remove_folder",
    "scratch_file",
    "size_of",
    "stamp",
    "stored",
    "sync_folder",
    "tidy",
    "tree",
    "write_whole",
]
