"""Paths as people are shown them: relative to the current folder, on one line."""

from __future__ import annotations

from pathlib import Path

from grokpack.core.escaping import escape_line


def shown_path(path: str) -> str:
    """Format a path on one line, relative to the current folder if it is below."""
    return escape_line(relative_path(path))


def relative_path(path: str) -> str:
    """Return a path relative to the current folder if it is below; others unchanged."""
    if "://" in path:
        return path
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path
