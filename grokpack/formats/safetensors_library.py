"""The safetensors library as judge of headers: a file that it refuses, other programs refuse.

The library reads the header and maps the rest, so a sparse file is enough that begins with the
header and has the right size.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN_FILES = "/proc/self/fd"  # where an in-memory file has a path


def refusal(header: bytes, nbytes: int) -> str | None:
    """Return the reason why the library refuses a file; None if it opens it.

    A file too large for the address space is not judged.

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
    """Create a sparse file of this size that begins with the header, for the block's length."""
    with contextlib.ExitStack() as ended:
        if hasattr(os, "memfd_create") and Path(_OPEN_FILES).is_dir():
            handle = os.memfd_create("header")
            path = f"{_OPEN_FILES}/{handle}"
        else:
            handle, path = tempfile.mkstemp()
            ended.callback(os.unlink, path)
        file = ended.enter_context(os.fdopen(handle, "wb"))
        file.write(header)
        file.truncate(nbytes)  # also flushes the buffer
        yield path
