"""Patterns by which tokenizers of byte pairs split a text into pieces."""

from __future__ import annotations

import re

SPLITS = {
    "V1": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""Patterns of the pieces that are merged each by itself, by the names that files give them."""
_LONGEST = 4096
_DEEPEST = 16
_MOST_REPEATED = 10_000  # counts multiplied, as if each stood inside the others
_TOKEN = re.compile(
    r"\\[pP]\{\^?\w{1,40}\}|\\.|\{(?P<least>\d{1,4})(?:,(?P<most>\d{0,4}))?\}"
    r"|(?P<open>\((?:\?(?:[ims]{1,3}:|[:=!>]|<[=!])|(?!\?)))|(?P<close>\))|(?P<other>[({])|.",
    re.DOTALL,
)
"""Elements of a pattern: groups of some kinds, counts, and anything without effect on cost.

Other groups call patterns or take what is merely similar, without limits on memory.
"""
_CLASS_OR_GROUP = re.compile(
    r"\\.|\[\^?\]?(?:\[:\^?\w{1,40}:\]|\\.|[^\]\\])*\]"
    r"|(?P<open>\()|(?P<close>\))|(?P<broken>[\[\\])|.",
    re.DOTALL,
)
"""Elements of a pattern that end what they begin, and those that do not."""


def is_closed(pattern: str) -> bool:
    """Return whether each group and each class of characters ends; it is asked without packages."""
    depth = 0
    for token in _CLASS_OR_GROUP.finditer(pattern):
        depth += (token["open"] is not None) - (token["close"] is not None)
        if depth < 0 or token["broken"]:
            return False
    return depth == 0


def is_bounded(pattern: str) -> bool:
    """Return whether a pattern can be compiled at little cost, whatever time matching may take."""
    if not 0 < len(pattern) <= _LONGEST:
        return False
    depth, repeated = 0, 1
    for token in _TOKEN.finditer(pattern):
        depth += (token["open"] is not None) - (token["close"] is not None)
        if token["least"] is not None:
            repeated *= max(1, int(token["most"] or token["least"]))
        if token["other"] or depth > _DEEPEST or repeated > _MOST_REPEATED:
            return False
    return True


def seconds(length: int) -> float:
    """Return the processor time after which splitting a text of so many characters has failed.

    Merging its pieces counts as well: it takes some microseconds for each character.
    """
    return 10 + length / 10_000
