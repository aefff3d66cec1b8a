"""The only package that opens, reads, writes, renames or removes files.

`sources` reads, wherever a file lies; `local` is the medium that everything has; `parts` writes.
"""

from __future__ import annotations

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
    exists,
    is_folder,
    lines,
    names,
    parent,
    read_into,
    read_json,
    read_rows,
    size_of,
    stamp,
    tree,
)

__all__ = [
    "PART",
    "FileBytes",
    "PartWriter",
    "allocated_bytes",
    "append_line",
    "create_part",
    "exists",
    "faults",
    "free_bytes",
    "in_the_way",
    "is_folder",
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
    "sync_folder",
    "tree",
    "write_whole",
]
