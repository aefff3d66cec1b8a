"""Number of threads that read from a folder or a server."""

from __future__ import annotations

import os

from grokpack import storage

_MOST_WORKERS = 4  # beyond that, memory bandwidth is the limit


def threads(near: str) -> int:
    """Return the number of threads that read in parallel from the backend of a path."""
    return storage.read_overhead(near).threads or min(os.cpu_count() or 1, _MOST_WORKERS)
