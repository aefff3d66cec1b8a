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
    """Hold a lock for the length of a block, alone or shared with others.

    The block is told whether the lock's file still exists: its last holder may have removed it when
    all was done, and then the lock keeps nobody out.

    Args:
        path: The lock's file, created if missing.
        shared: True if others may share it.
        wait_s: Seconds to wait for it.

    Raises:
        GrokpackError: GP322 if others hold it.
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
    """Acquire a lock, waiting until a deadline."""
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
    """Return whether a path leads to an open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
