"""The safetensors library as the judge of headers: what it does not open, nobody else opens.

It reads a file's header and maps the rest, so a file without contents will do: one that begins with
the header, has the right size, and takes no room.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN_FILES = "/proc/self/fd"  # where a file of memory has a path


def refusal(header: bytes, nbytes: int) -> str | None:
    """The reason for which the library refuses a file; None where it opens it.

    A file that the machine has no room of addresses for is not judged.

    Args:
        header: The file's first bytes: the length of its table, and the table.
        nbytes: Size of the whole file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with _sparse_file(header, nbytes) as path, safe_open(path, framework="np"):
            return None
    except SafetensorError as error:
        return str(error)
    except (OSError, MemoryError):
        return None


@contextlib.contextmanager
def _sparse_file(header: bytes, nbytes: int) -> Iterator[str]:
    """The path of a file of this size that begins so; it is gone after the block."""
    with contextlib.ExitStack() as ended:
        if hasattr(os, "memfd_create") and Path(_OPEN_FILES).is_dir():
            handle = os.memfd_create("header")
            path = f"{_OPEN_FILES}/{handle}"
        else:
            handle, path = tempfile.mkstemp()
            ended.callback(os.unlink, path)
        file = ended.enter_context(os.fdopen(handle, "wb"))
        file.write(header)
        file.truncate(nbytes)  # which writes out what is buffered
        yield path
