"""Patterns for tensors in options and policies: one grammar for all commands.

A pattern is a part of the model (`attention`, `experts`, `router`, `norms`, `embedding`), or whole
words of a name between slashes or dots: all of them, those at its end, or a run of them anywhere.
`*`, `?` and `[...]` stand for characters, as in a shell, and `*` for slashes and dots too.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    words = _slashed(pattern)
    if words in _PARTS:
        return entry.rule.role == _PARTS[words]
    return _expression(words).match(_slashed(entry.name)) is not None


def _slashed(name: str) -> str:
    """Return a name or a pattern with slashes between its words."""
    return name.replace(".", "/").strip("/")


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
    wanted = len(_slashed(pattern).split("/"))
    runs = [run for name in names for run in _runs(name, wanted)]
    parts = _PARTS if wanted == 1 else ()
    return difflib.get_close_matches(pattern, [*dict.fromkeys((*runs, *parts))], _NEAR)


def _runs(name: str, count: int) -> Iterator[str]:
    """Yield every run of so many words of a name, with what is between them there."""
    between = "/" if "/" in name else "."
    words = name.split(between)
    return (between.join(words[i : i + count]) for i in range(len(words) - count + 1))
