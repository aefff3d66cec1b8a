"""Number of threads that read from a folder or server."""

from __future__ import annotations

import os

from grokpack import storage

_MOST_WORKERS = 4  # reading memory is the limit beyond that


def threads(near: str) -> int:
    """Threads that read at the same time, by a path: as many as a far server is asked with."""
    return storage.burden(near).threads or min(os.cpu_count() or 1, _MOST_WORKERS)
