"""What a file that is no tensor would run where something else opened it.

The reader refuses a file at the first byte that it does not expect. Whether the file is damaged or
was made to run code is decided here: its opcodes are walked as Python's machine would walk them,
from the first byte, behind the end of the pickle, and in whatever archive it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError
from grokpack.formats.pickle import containers
from grokpack.formats.pickle.frames import Framed
from grokpack.formats.pickle.limits import MAX_CROSSINGS, MAX_OPCODES
from grokpack.formats.pickle.opcode_walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.formats.pickle.records import Bytes

_ENDS_BYTES = 256 * 1024  # of either end of a damaged file, searched for a pickle between garbage
_MOST_STEPS = 100_000  # of opcodes that may be none
_NAME = rb"[A-Za-z_][\w.]{1,100}"
_BEGINNINGS = re.compile(
    rb"\x80[\x02-\x05]"
    rb"|c" + _NAME + rb"\n" + _NAME + rb"\n"
    rb"|\(i" + _NAME + rb"\n" + _NAME + rb"\n"
    rb"|\x8c." + _NAME + rb"\x94?\x8c." + _NAME + rb"\x94?\x93",
    re.DOTALL,
)
"""Where a pickle may begin: its protocol, or a name as any of the protocols writes it."""


def search(data: Bytes, path: str, *, damaged: bool) -> None:
    """Look for what would run code in a file that is no tensor.

    Args:
        data: The file.
        path: Its name, for messages.
        damaged: Whether to look for pickles between garbage as well.

    Raises:
        GrokpackError: GP204 for a name off the list or an opcode that reaches other code, GP205
            beyond the limits.
    """
    _search(data, path, containers.InspectionBudget())
    if damaged:
        _search_garbage(data, path)


def _search_garbage(data: Bytes, path: str) -> None:
    """Try each place near either end of a file where a pickle may begin."""
    steps = 0
    for begin, end in _ends(data.size()):
        for found in _BEGINNINGS.finditer(data.read(begin, end - begin)):
            if begin + found.start() == 0:
                continue  # was walked already
            steps += _walk(Framed(data, path), begin + found.start(), among_garbage=True)[1]
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
    """Walk the pickle that begins the file, and each that follows it."""
    window, begins = Framed(data, path), [0]
    for at in begins:
        if len(begins) > MAX_OPCODES:
            raise window.beyond("pickles in one file", MAX_OPCODES)
        ends, _ = _walk(window, at, among_garbage=False)
        begins += sorted(end for end in ends if end < window.size and end not in begins)


def _walk(window: Framed, at: int, *, among_garbage: bool) -> tuple[set[int], int]:
    """Walk a pickle in each way that a machine may read its frames.

    Returns:
        Where it ends, and how many opcodes were looked at.
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
