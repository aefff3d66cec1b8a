"""Arguments of every pickle opcode of protocols 0 to 5.

Source: the documentation of Python's `pickletools`.
"""

from __future__ import annotations

FIXED = {
    b"G": 8, b"J": 4, b"K": 1, b"M": 2, b"\x80": 1,
}  # fmt: skip
"""Opcodes with an argument of so many bytes, whose values are not tracked."""

COUNTED = {
    b"B": "I", b"C": "B", b"T": "i", b"U": "B", b"X": "I",
    b"\x8a": "B", b"\x8b": "i", b"\x8c": "B", b"\x8d": "Q", b"\x8e": "Q", b"\x96": "Q",
}  # fmt: skip
"""Opcodes whose argument is a length, in `struct`'s code, and as many bytes."""

LINES = frozenset((b"F", b"I", b"L", b"S", b"V"))
"""Opcodes whose argument is a line of text."""

TEXTS = frozenset((b"S", b"T", b"U", b"V", b"X", b"\x8c", b"\x8d"))
"""Opcodes that push text, by which a later opcode may name a module or an attribute."""

MEMO_WRITES = {b"p": None, b"q": "B", b"r": "I", b"\x94": None}
MEMO_READS = {b"g": None, b"h": "B", b"j": "I"}
"""Opcodes with a memo index: a line of digits, or a number in `struct`'s code.

`MEMOIZE` has none: it counts."""

EXTENSIONS = {b"\x82": "B", b"\x83": "H", b"\x84": "i"}
"""Opcodes that name an entry of the extension registry."""

PLAIN = frozenset((b"N", b"\x88", b"\x89", b"]", b")", b"}", b"\x8f", b"\x97"))
"""Opcodes without an argument that push a value."""

REPLACING = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
"""Opcodes that replace so many values by one."""

REPLACING_MARKED = frozenset((b"t", b"l", b"d", b"\x91"))
"""Opcodes that replace everything above a mark by one value."""

APPENDING = {b"a": 1, b"s": 2}
"""Opcodes that put so many values into the one below."""

DROPPING_MARKED = frozenset((b"e", b"u", b"\x90", b"1"))
"""Opcodes that remove everything above a mark."""

ARGUMENTS = {b"R": 1, b"b": 1, b"\x81": 1, b"\x92": 2}
"""Opcodes that call what lies below so many values, or set its state."""
