"""Opcodes that only build plain Python values: walked past, so that what follows them is seen.

No tensor file has them. The reader could stop at the first, but then a hostile file that begins
with a list or a float would be called broken, and what it meant to run would never be named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.pickles.values import OPAQUE, Opaque

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.pickles.reader import Machine


def _line(m: Machine) -> None:
    m.line()
    m.push(OPAQUE)


def _remember_line(m: Machine) -> None:
    m.remember(_index(m))


def _recall_line(m: Machine) -> None:
    m.recall(_index(m))


def _index(m: Machine) -> int:
    digits = m.line()
    if not digits.isdecimal() or not digits.isascii():
        raise m.window.broken("a memo index is not a number")
    return int(digits)


def _counted(code: str) -> Callable[[Machine], None]:
    def handle(m: Machine) -> None:
        nbytes = m.window.number(code)
        if nbytes < 0:
            raise m.window.broken("a length is negative")
        m.window.skip(nbytes)
        m.push(OPAQUE)

    return handle


def _float(m: Machine) -> None:
    m.window.take(8)
    m.push(OPAQUE)


def _gather(m: Machine) -> None:
    m.pop_mark()
    m.push(OPAQUE)


def _append(m: Machine) -> None:
    m.pop()
    _grow(m)


def _extend(m: Machine) -> None:
    m.pop_mark()
    _grow(m)


def _grow(m: Machine) -> None:
    if not isinstance(m.top(), Opaque):
        raise m.window.broken("items are added to something that is not a list or set")


def _empty(m: Machine) -> None:
    m.push(OPAQUE)


INERT: dict[bytes, Callable[[Machine], None]] = {
    b"]": _empty,
    b"\x8f": _empty,
    b"a": _append,
    b"e": _extend,
    b"\x90": _extend,
    b"l": _gather,
    b"\x91": _gather,
    b"G": _float,
    b"F": _line,
    b"I": _line,
    b"L": _line,
    b"S": _line,
    b"V": _line,
    b"p": _remember_line,
    b"g": _recall_line,
    b"T": _counted("i"),
    b"U": _counted("B"),
    b"\x8b": _counted("i"),
}
