"""Suggestions of other paths where there is no checkpoint at the given one."""

from __future__ import annotations

import difflib
import os
import re
from typing import TYPE_CHECKING

from grokpack import storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REPOSITORY = re.compile(r"(?:hf:/*|(?:www\.)?huggingface\.co/)?([\w.-]+/[\w.-]+)/?")
_DEEPEST = 4  # levels of folders that are looked through: `models--O--N/snapshots/REVISION/ckpt-0`
_MOST_FOLDERS = 200  # that are looked into
_FEW = 3  # paths that are named
_LONGEST_STEP = 18  # digits of a number of steps


def suggest(path: str, find: Callable[[str], str | None]) -> list[str]:
    """Return the paths that may have been meant, the likeliest first.

    Args:
        path: A path that exists or not.
        find: Returns the folder of the files of the checkpoint at a path; None if there is none.
    """
    if not storage.exists(path):
        near = _nearest(path)
        return [near] if near else _of_hub(path)
    above = os.path.dirname(os.path.abspath(path))
    if not storage.is_folder(path) and find(above):
        return [os.path.relpath(above) if not os.path.isabs(path) else above]
    found: list[str] = []
    for folder in _below(os.path.normpath(path)):
        inside = any(folder.startswith(f"{one}{os.sep}") for one in found)
        if not inside and find(folder):
            found.append(folder)
            if len(found) == _FEW:
                break
    return found


def _nearest(path: str) -> str | None:
    """Return the folder beside it that has almost this name."""
    above, name = os.path.split(os.path.normpath(path))
    folders = [n for n in storage.names(above or ".") if storage.is_folder(os.path.join(above, n))]
    near = difflib.get_close_matches(name, folders, 1, 0.7)
    return os.path.join(above, near[0]) if near else None


def _of_hub(path: str) -> list[str]:
    """Return the URL of the repository that a path names in another form, if it does."""
    match = _REPOSITORY.fullmatch(path)
    if match is None or storage.exists(path.partition("/")[0]):
        return []
    return [f"hf://{match[1]}"]


def _below(path: str) -> Iterator[str]:
    """Yield folders below a folder, level by level, the last of each level first.

    So the newest step of a series of checkpoints comes before others.
    """
    level, left = [path], _MOST_FOLDERS
    for _ in range(_DEEPEST):
        below = [
            folder
            for above in level
            for name in sorted(storage.names(above), key=_order, reverse=True)
            if storage.is_folder(folder := os.path.join(above, name))
        ]
        level = below[:left]
        left -= len(level)
        yield from level


def _order(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() and len(name) < _LONGEST_STEP else -1, name)
