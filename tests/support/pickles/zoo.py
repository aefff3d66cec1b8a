"""Hostile pickles, made opcode by opcode: what each would do, and the code that refuses it.

Everything that could run calls `canary`, so that a test can see that nothing did.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CANARY_MODULE, CANARY = "tests.support.pickles.canary", "sing"
PROTOCOL = b"\x80\x04"


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    data: bytes
    code: str


def text(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


SING = named(CANARY_MODULE, CANARY)
SING_LINE = f"{CANARY_MODULE}\n{CANARY}\n".encode()
NDARRAY, DTYPE = named("numpy", "ndarray"), named("numpy", "dtype")
RECONSTRUCT = named("numpy.core.multiarray", "_reconstruct")
FROMBUFFER = named("numpy._core.numeric", "_frombuffer")
QUANTIZED = named("__main__", "QuantizedWeight8bit")
BFLOAT16 = named("ml_dtypes", "bfloat16")
BLANK = RECONSTRUCT + NDARRAY + b"K\x00\x85C\x01b\x87R"
DTYPE_STATE = b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
I1 = DTYPE + text("i1") + b"\x89\x88\x87R" + DTYPE_STATE


def array_state(shape: bytes, payload: bytes, dtype: bytes = I1) -> bytes:
    return b"(K\x01" + shape + dtype + b"\x89" + payload + b"tb"


ARRAY = BLANK + array_state(b"K\x04\x85", b"C\x04abcd")
"""An int8 array of four elements, as good as any."""

SONG = SING + b")R"  # calls the canary


def bomb(levels: int) -> bytes:
    """A tuple that would unfold to two to the power of `levels` items."""
    return b")" + b"2\x86" * levels


def _frame(body: bytes) -> bytes:
    return b"\x95" + struct.pack("<Q", len(body)) + body


def _runs() -> list[tuple[str, bytes]]:
    """Whatever would import or call something."""
    weight = b"(" + text("weight") + ARRAY + text("scales")
    return [
        ("reduce", PROTOCOL + SONG + b"."),
        ("reduce by name in lines", PROTOCOL + b"c" + SING_LINE + b")R."),
        ("inst", PROTOCOL + b"(i" + SING_LINE + b"."),
        ("inst with an old string", PROTOCOL + b"(S'x'\ni" + SING_LINE + b"."),
        ("obj", PROTOCOL + b"(" + SING + b"o."),
        ("newobj", PROTOCOL + SING + b")\x81."),
        ("newobj_ex", PROTOCOL + SING + b")}\x92."),
        ("newobj_ex of the allowed class", PROTOCOL + QUANTIZED + b")}\x92."),
        ("newobj of the allowed class with arguments", PROTOCOL + QUANTIZED + ARRAY + b"\x85\x81."),
        ("reduce of the allowed class", PROTOCOL + QUANTIZED + b")R."),
        ("reduce of ndarray", PROTOCOL + NDARRAY + b"K\x01\x85\x85R."),
        ("reduce of bfloat16", PROTOCOL + BFLOAT16 + b"K\x01\x85R."),
        ("reduce of an array", PROTOCOL + ARRAY + b")R."),
        ("build on a class", PROTOCOL + QUANTIZED + b"}b."),
        ("build on a dict", PROTOCOL + b"}}b."),
        ("extension of one byte", PROTOCOL + b"\x82\x01."),
        ("extension of two bytes", PROTOCOL + b"\x83\x01\x00."),
        ("extension of four bytes", PROTOCOL + b"\x84\x01\x00\x00\x00."),
        ("persistent id", PROTOCOL + b"Pid\n."),
        ("binary persistent id", PROTOCOL + text("id") + b"Q."),
        ("global whose name is a tuple", PROTOCOL + b"))\x93."),
        (
            "dotted name that begins as numpy",
            PROTOCOL + named("numpy", "ndarray.__reduce__") + b".",
        ),
        ("numpy's own door", PROTOCOL + named("numpy", "load") + b"."),
        ("jax in name only", PROTOCOL + named("jaxevil", "sing") + b"."),
        ("inside a list", PROTOCOL + b"](" + SONG + b"e."),
        ("inside a set", PROTOCOL + b"\x8f(" + SONG + b"\x90."),
        ("inside a dict with numbers for keys", PROTOCOL + b"}(K\x01" + SONG + b"u."),
        ("after a float", PROTOCOL + b"G" + bytes(8) + SONG + b"."),
        ("in a shape", PROTOCOL + BLANK + array_state(SONG, b"C\x04abcd") + b"."),
        ("in a dtype's state", PROTOCOL + DTYPE + text("i1") + b"\x89\x88\x87R(K\x03" + SONG),
        ("as a dtype's code", PROTOCOL + DTYPE + SONG),
        ("as the scales", PROTOCOL + QUANTIZED + b")\x81}" + weight + SONG + b"ub."),
        ("after the payload", PROTOCOL + ARRAY + SONG + b"0."),
        ("between the payloads", PROTOCOL + QUANTIZED + b")\x81}" + weight + SONG + b"0" + ARRAY),
        ("after the payload, dropped with a mark", PROTOCOL + ARRAY + b"(" + SONG + b"1."),
        ("in a frame of its own", PROTOCOL + _frame(ARRAY) + _frame(SONG + b"0.")),
        ("protocol 0, the classic", b"c" + SING_LINE + b"(S'x'\ntR."),
        ("protocol 0, after a string", b"(S'x'\ni" + SING_LINE + b"."),
        ("protocol 0, in a list", b"(lp0\nc" + SING_LINE + b"(tRa."),
        ("protocol 1", b"]q\x00(c" + SING_LINE + b")Re."),
        ("protocol 2", b"\x80\x02c" + SING_LINE + b")R."),
        (
            "protocol 2, behind an array whose bytes are spelled out",
            b"\x80\x02(c_codecs\nencode\nX\x00\x00\x02\x00"
            + b"a" * (1 << 17)
            + b"X\x06\x00\x00\x00latin1\x86Rc"
            + SING_LINE
            + b")Rt.",
        ),
        ("protocol 2, an extension behind it", b"\x80\x02c_codecs\nencode\n0\x82\x01."),
        ("protocol 2, a newer opcode behind it", b"\x80\x02c_codecs\nencode\n0" + SONG + b"."),
        ("protocol 3", b"\x80\x03c" + SING_LINE + b")R."),
        ("protocol 5", b"\x80\x05" + SONG + b"."),
        ("a name that would paint the terminal", PROTOCOL + named("\x1b[2J\n", "x") + b"."),
    ]


def _exhausts() -> list[tuple[str, bytes]]:
    """Whatever would eat time or memory."""
    return [
        ("a million small opcodes", PROTOCOL + b"N0" * 500_000 + b"."),
        ("memo", PROTOCOL + b"N" + b"\x94" * 1_500),
        (
            "memo by number",
            PROTOCOL + b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(1_500)),
        ),
        ("marks", PROTOCOL + b"(" * 1_500),
        ("stack", PROTOCOL + b")" * 1_500),
        ("deep tuples", PROTOCOL + b")" + b"\x85" * 100_000 + b"."),
        ("string", PROTOCOL + b"X" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"."),
        ("name without an end", PROTOCOL + b"c" + b"a" * (1 << 20)),
        ("integer", PROTOCOL + b"\x8a\xff" + bytes(255) + b"."),
        (
            "payload that nothing uses",
            PROTOCOL + b"B\x00\x00\x02\x00" + bytes(1 << 17) + b"0" + ARRAY + b".",
        ),
        ("protocol 2, a million small opcodes", b"\x80\x02" + b"N0" * 500_000 + b"."),
    ]


def _contradicts() -> list[tuple[str, bytes]]:
    """Whatever makes no array."""
    blank = PROTOCOL + BLANK
    huge = struct.pack("<Q", 1 << 63)
    return [
        ("length of 2^63", blank + array_state(b"K\x04\x85", b"\x8e" + huge)),
        ("length of 2^64 - 1", blank + array_state(b"K\x04\x85", b"\x96" + b"\xff" * 8)),
        ("bytes of 2^63", PROTOCOL + b"\x8e" + huge + b"."),
        ("frame of 2^63", PROTOCOL + b"\x95" + huge + ARRAY + b"."),
        ("negative dimension", blank + array_state(b"J\xfc\xff\xff\xff\x85", b"C\x04abcd") + b"."),
        (
            "two negative dimensions",
            blank + array_state(b"J\xfe\xff\xff\xff2\x86", b"C\x04abcd") + b".",
        ),
        (
            "dimensions whose product overflows to nothing",
            blank + array_state(b"\x8a\x05\x00\x00\x00\x00\x012\x86", b"C\x00") + b".",
        ),
        ("dimension that is a flag", blank + array_state(b"\x88K\x04\x86", b"C\x04abcd") + b"."),
        ("one byte too few", blank + array_state(b"K\x05\x85", b"C\x04abcd") + b"."),
        ("one byte too many", blank + array_state(b"K\x03\x85", b"C\x04abcd") + b"."),
        ("array never filled", blank + b"."),
        ("array filled twice", PROTOCOL + ARRAY + array_state(b"K\x04\x85", b"C\x04abcd") + b"."),
        ("blank of another shape", PROTOCOL + RECONSTRUCT + NDARRAY + b"K\x07\x85C\x01b\x87R."),
        (
            "dtype changed after use",
            blank
            + array_state(b"K\x04\x85", b"C\x04abcd", I1 + b"q\x05")
            + b"h\x05"
            + DTYPE_STATE
            + b"0.",
        ),
        (
            "byte order that unfolds without end",
            PROTOCOL
            + DTYPE
            + text("i1")
            + b"\x89\x88\x87R(K\x03"
            + bomb(200)
            + b"NNNK\x00K\x00K\x00tb.",
        ),
        ("shape that unfolds without end", blank + array_state(bomb(200), b"C\x04abcd") + b"."),
        ("dict key that unfolds without end", PROTOCOL + b"}" + bomb(200) + b"Ns."),
        ("dict key that cannot be hashed", PROTOCOL + b"}}Ns."),
        ("dict that holds itself", PROTOCOL + b"}\x94" + text("a") + b"h\x00s."),
        ("dict key without a value", PROTOCOL + b"}(" + text("a") + b"u."),
        (
            "same array for both",
            PROTOCOL
            + QUANTIZED
            + b")\x81}("
            + text("weight")
            + ARRAY
            + b"q\x07"
            + text("scales")
            + b"h\x07ub.",
        ),
        ("weight twice", PROTOCOL + QUANTIZED + b")\x81}(" + (text("weight") + ARRAY) * 2 + b"ub."),
        ("weight only", PROTOCOL + QUANTIZED + b")\x81}(" + text("weight") + ARRAY + b"ub."),
        (
            "a third field",
            PROTOCOL
            + QUANTIZED
            + b")\x81}("
            + text("weight")
            + ARRAY
            + text("scales")
            + ARRAY
            + text("__class__")
            + ARRAY
            + b"ub.",
        ),
        ("state never set", PROTOCOL + QUANTIZED + b")\x81."),
        ("second object on the stack", PROTOCOL + ARRAY + b"N."),
        ("open mark", PROTOCOL + b"(" + ARRAY + b"."),
        ("empty stack", PROTOCOL + b"0."),
        ("pop below a mark", PROTOCOL + b"N(\x85."),
        ("mark that was not set", PROTOCOL + b"Nt."),
        ("memo entry that was not written", PROTOCOL + b"j\xff\xff\xff\xff."),
        ("memo index of letters", PROTOCOL + b"gx\n."),
        ("negative length of an old string", PROTOCOL + b"T\xff\xff\xff\xff."),
        ("append to an array", PROTOCOL + ARRAY + b"Na."),
        ("second protocol", PROTOCOL + PROTOCOL + ARRAY + b"."),
        ("second pickle that is harmless", PROTOCOL + ARRAY + b"." + PROTOCOL + ARRAY + b"."),
        ("old string without an end", PROTOCOL + b"S'" + b"a" * (1 << 20)),
        ("opcode over a frame's end", PROTOCOL + b"\x95" + struct.pack("<Q", 3) + ARRAY + b"."),
        (
            "payload over a frame's end",
            PROTOCOL + _frame(BLANK + b"(K\x01K\x04\x85" + I1 + b"\x89C\x04a") + b"bcdtb.",
        ),
        ("frame in a frame", PROTOCOL + _frame(_frame(ARRAY + b"."))),
        ("string that is not UTF-8", PROTOCOL + b"\x8c\x01\xff."),
        ("nothing at all", b""),
        ("protocol 6", b"\x80\x06" + ARRAY + b"."),
        ("pointer of a file that was not fetched", b"version https://git-lfs.github.com/spec/v1\n"),
        ("zeros", bytes(4096)),
    ]


ATTACKS = [
    *(Attack(name, data, "GP204") for name, data in _runs()),
    *(Attack(name, data, "GP205") for name, data in _exhausts()),
    *(Attack(name, data, "GP209") for name, data in _contradicts()),
]
