"""Patterns for tensors in options and policies: one grammar for all commands.

A pattern is a part of the model (`attention`, `experts`, `router`, `norms`, `embedding`), or whole
words of a name between slashes: all of them, those at its end, or a run of them anywhere. `*`, `?`
and `[...]` stand for characters, as in a shell, and `*` for slashes too.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.models.architecture import ModelTensor, Role

_PARTS: dict[str, Role] = {
    "attention": "attention",
    "embedding": "embedding",
    "expert": "expert",
    "experts": "expert",
    "head": "head",
    "mlp": "mlp",
    "norm": "norm",
    "norms": "norm",
    "router": "router",
}
_NEAR = 3  # names that an error lists


def matches(entry: ModelTensor, pattern: str) -> bool:
    """Return whether a pattern matches this tensor."""
    words = pattern.strip("/")
    if words in _PARTS:
        return entry.rule.role == _PARTS[words]
    return _expression(words).match(entry.name) is not None


@lru_cache(maxsize=4096)  # fnmatch caches 256 itself, and a policy may have a thousand
def _expression(words: str) -> re.Pattern[str]:
    forms = (words, f"*/{words}", f"{words}/*", f"*/{words}/*")
    return re.compile("|".join(map(fnmatch.translate, forms)))


def select(entries: Iterable[ModelTensor], pattern: str) -> list[ModelTensor]:
    """Choose the tensors that a pattern matches, in their order.

    Raises:
        GrokpackError: GP216 if it matches none, with the nearest names.
    """
    listed = list(entries)
    found = [entry for entry in listed if matches(entry, pattern)]
    if not found:
        near = _nearest([entry.name for entry in listed], pattern)
        what = f"no tensor matches `{pattern}`"
        hint = "`grokpack inspect --tree` lists them all"
        raise GrokpackError("GP216", what, None, tuple(("nearest", name) for name in near), hint)
    return found


def _nearest(names: list[str], pattern: str) -> list[str]:
    """Find patterns of as many words as this one that do match tensors."""
    wanted = pattern.strip("/").split("/")
    runs = {
        "/".join(words[i : i + len(wanted)]): None
        for words in (name.split("/") for name in names)
        for i in range(len(words) - len(wanted) + 1)
    }
    parts = _PARTS if len(wanted) == 1 else ()
    return difflib.get_close_matches(pattern, [*runs, *parts], _NEAR)
