"""Suggestions of other paths where there is no checkpoint at the given one."""

from __future__ import annotations

import difflib
import os
import re
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.models import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)/?")
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
        if not inside and _holds_one(folder, find):
            found.append(folder)
            if len(found) == _FEW:
                break
    return found


def suggest_url(url: str, find: Callable[[str], str | None]) -> str | None:
    """Return the URL that was probably meant: in another form, the folder above, or a release's.

    Args:
        url: A URL without a checkpoint.
        find: Returns the folder of the files of the checkpoint at a path; None if there is none.
    """
    meant, above = storage.meant_url(url), storage.parent(url)
    if meant is not None:
        return meant
    if above != storage.absolute(url) and find(above):
        return above
    return None if storage.is_repository(url) else _published_at(url)


def _published_at(path: str) -> str | None:
    """Return the URL of the release whose repository a path or a web address names, if it does."""
    names = path.lower().replace("--", "/")
    named = (one for one in registry.repositories() if one in names)
    return next((f"hf://{one}" for one in named), None)


def _nearest(path: str) -> str | None:
    """Return the folder beside it that has almost this name."""
    above, name = os.path.split(os.path.normpath(path))
    near = difflib.get_close_matches(name, [*_folders(above or ".")], 1, 0.7)
    return os.path.join(above, near[0]) if near else None


def _folders(above: str) -> list[str]:
    """Return the names of the folders in a folder; none of one that may not be looked into.

    What is suggested is looked for in folders that nobody named, such as `lost+found`.
    """
    try:
        names = storage.names(above)
        return [name for name in names if storage.is_folder(os.path.join(above, name))]
    except GrokpackError:
        return []


def _holds_one(folder: str, find: Callable[[str], str | None]) -> bool:
    """Return whether a checkpoint is found in a folder, which may not be looked into."""
    try:
        return find(folder) is not None
    except GrokpackError:
        return False


def _of_hub(path: str) -> list[str]:
    """Return the URL that a path names in another form, if it does."""
    meant = storage.meant_url(path)
    if meant is not None:
        return [meant]
    match = _REPOSITORY.fullmatch(path)
    if match is not None and not storage.exists(path.partition("/")[0]):
        return [f"hf://{match[1]}"]
    published = _published_at(path)
    return [published] if published else []


def _below(path: str) -> Iterator[str]:
    """Yield folders below a folder, level by level, the last of each level first.

    So the newest step of a series of checkpoints comes before others.
    """
    level, left = [path], _MOST_FOLDERS
    for _ in range(_DEEPEST):
        below = [
            os.path.join(above, name)
            for above in level
            for name in sorted(_folders(above), key=_order, reverse=True)
        ]
        level = below[:left]
        left -= len(level)
        yield from level


def _order(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() and len(name) < _LONGEST_STEP else -1, name)
