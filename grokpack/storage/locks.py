"""Locks on files that several processes want to write."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from grokpack.core.errors import LockHeld, Place, WriteFailed
from grokpack.storage.fault_injection import writing
from grokpack.storage.new_files import open_own

if TYPE_CHECKING:
    from collections.abc import Iterator


_LOCK_POLL_S = 0.05


@contextlib.contextmanager
def locked(path: str, *, shared: bool = False, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold a lock for as long as the block runs: alone, or with others that share it.

    The block is told whether the lock's file is still there: whoever held it before may have
    removed it when all was done, and then the lock keeps nobody out.

    Args:
        path: The lock's file; made where it is not there.
        shared: Whether others may share it.
        wait_s: How long to wait for it.

    Raises:
        GrokpackError: GP322 where others hold it so that it cannot be had.
    """
    with writing("lock", path):
        handle = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        _take(handle, kind, path, time.monotonic() + wait_s)
        yield _is_at(handle, path)
    finally:
        os.close(handle)


def _take(handle: int, kind: int, path: str, deadline: float) -> None:
    """Take a lock as soon as it can be had."""
    while True:
        try:
            fcntl.flock(handle, kind)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                what = "another process is writing this output"
                hint = "wait for it, or use another `--out`"
                raise LockHeld(what, Place(path), hint=hint) from error
            time.sleep(_LOCK_POLL_S)
        except OSError as error:
            what = f"the file system has no locks: {error.strerror}"
            hint = "mount it with locks (NFS 4, Lustre with `-o flock`), or write elsewhere"
            raise WriteFailed(what, Place(path), hint=hint) from error
        else:
            return


def _is_at(handle: int, path: str) -> bool:
    """Whether a path leads to an open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
