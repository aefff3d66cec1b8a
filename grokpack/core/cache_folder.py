"""Folder of what is kept between runs and can be made again."""

from __future__ import annotations

import os


def cache_folder() -> str:
    """Return the user's folder for grokpack's cache."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(caches, "grokpack")
