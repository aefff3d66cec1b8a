"""Names in the rest of an old pickle, whose arrays are written as text and make no sense here.

The machine of `reader` stops where bytes are spelled out as text. What follows is only searched for
names off the list and opcodes that run something, so that a hostile file is called hostile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.pickles.limits import MAX_OPCODES, MAX_STRING_BYTES
from grokpack.pickles.values import ALLOWED, TRANSCODING, UNSAFE

if TYPE_CHECKING:
    from grokpack.pickles.window import Window

_FIXED = {b"K": 1, b"M": 2, b"J": 4, b"G": 8, b"q": 1, b"r": 4, b"h": 1, b"j": 4}
_COUNTED = {b"X": "I", b"U": "B", b"T": "I", b"\x8a": "B", b"\x8b": "I"}
_ALONE = frozenset(b"(012N\x88\x89)t\x85\x86\x87}du]alesR\x81b")  # without an argument


def search(window: Window) -> None:
    """Walk the opcodes of protocol 2 from where the window stands, keeping no values.

    Raises:
        GrokpackError: GP204 at a name off the list or an opcode that runs something, GP205 beyond
            the limits, GP209 where the file ends too early.
    """
    for _ in range(MAX_OPCODES):
        window.opcode_at = window.at
        code = window.take(1)
        if code == b".":
            return
        if code == b"c":
            _name(window)
        elif code in _FIXED:
            window.take(_FIXED[code])
        elif code in _COUNTED:
            window.skip(window.number(_COUNTED[code]))
        elif code[0] not in _ALONE:
            raise window.unsafe(f"opcode {UNSAFE.get(code, f'0x{code.hex()}')} in protocol 2")
    raise window.beyond("opcodes", MAX_OPCODES)


def _name(window: Window) -> None:
    pair = (_line(window), _line(window))
    if pair not in ALLOWED and pair not in TRANSCODING:
        raise window.unsafe(".".join(pair))


def _line(window: Window) -> str:
    text = b""
    while not text.endswith(b"\n"):
        if len(text) > MAX_STRING_BYTES:
            raise window.beyond("bytes in a name", MAX_STRING_BYTES)
        text += window.take(1)
    return text[:-1].decode("utf-8", "replace")
