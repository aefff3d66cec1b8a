"""Search of a file that is no tensor for code that other programs would run.

The reader refuses a file at the first byte that it does not expect. This module tells damage from
intent: it walks the opcodes as Python's unpickler would, from the first byte, behind the end of the
pickle, and in any archive.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError
from grokpack.formats.pickle import containers
from grokpack.formats.pickle.frame_crossing import FrameCrossingWindow
from grokpack.formats.pickle.header_limits import MAX_CROSSINGS, MAX_OPCODES
from grokpack.formats.pickle.opcode_walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.formats.pickle.stored_arrays import Bytes

_ENDS_BYTES = 256 * 1024  # searched at either end of a damaged file for a pickle between garbage
_MOST_STEPS = 100_000  # opcodes tried where there may be none
_NAME = rb"[A-Za-z_][\w.]{1,100}"
_BEGINNINGS = re.compile(
    rb"\x80[\x02-\x05]"
    rb"|c" + _NAME + rb"\n" + _NAME + rb"\n"
    rb"|\(i" + _NAME + rb"\n" + _NAME + rb"\n"
    rb"|\x8c." + _NAME + rb"\x94?\x8c." + _NAME + rb"\x94?\x93",
    re.DOTALL,
)
"""Beginnings of a pickle: its protocol, or a name as each protocol writes it."""


def search(data: Bytes, path: str, *, damaged: bool) -> None:
    """Search a file that is no tensor for anything that would run code.

    Args:
        data: The file.
        path: Its name, for messages.
        damaged: True to search for pickles between garbage as well.

    Raises:
        GrokpackError: GP204 for a name off the list or an opcode that reaches other code, GP205
            beyond the limits.
    """
    _search(data, path, containers.InspectionBudget())
    if damaged:
        _search_garbage(data, path)


def _search_garbage(data: Bytes, path: str) -> None:
    """Try each position near either end of a file where a pickle may begin."""
    steps = 0
    for begin, end in _ends(data.size()):
        for found in _BEGINNINGS.finditer(data.read(begin, end - begin)):
            if begin + found.start() == 0:
                continue  # walked already
            steps += _walk(
                FrameCrossingWindow(data, path), begin + found.start(), among_garbage=True
            )[1]
            if steps > _MOST_STEPS:
                return


def _search(data: Bytes, path: str, budget: containers.InspectionBudget) -> None:
    _walk_all(data, path)
    for inside, content in containers.contents(data, path, budget):
        try:
            _search(content, path, budget)
        except GrokpackError as error:
            raise inside.named(error) from error


def _ends(size: int) -> Iterator[tuple[int, int]]:
    if size <= 2 * _ENDS_BYTES:
        yield 0, size
    else:
        yield 0, _ENDS_BYTES
        yield size - _ENDS_BYTES, size


def _walk_all(data: Bytes, path: str) -> None:
    """Walk the pickle that begins the file, and each one that follows."""
    window, begins = FrameCrossingWindow(data, path), [0]
    for at in begins:
        if len(begins) > MAX_OPCODES:
            raise window.beyond("pickles in one file", MAX_OPCODES)
        ends, _ = _walk(window, at, among_garbage=False)
        begins += sorted(end for end in ends if end < window.size and end not in begins)


def _walk(window: FrameCrossingWindow, at: int, *, among_garbage: bool) -> tuple[set[int], int]:
    """Walk a pickle in each way that an unpickler may read its frames.

    Returns:
        The offsets at which it ends, and the number of opcodes walked.
    """
    ways, ends, steps = [frozenset[int]()], set[int](), 0
    for way in ways:
        if len(ways) > MAX_CROSSINGS:
            raise window.beyond("frames that arguments run over", MAX_CROSSINGS)
        window.start(at, way)
        walk = Walk(window, among_garbage=among_garbage)
        end = walk.run()
        steps += walk.steps
        if end is not None:
            ends.add(end)
        ways += [way | {edge} for edge in sorted(window.crossed) if way | {edge} not in ways]
    return ends, steps
