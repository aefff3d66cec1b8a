"""Whatever either of Python's machines would run is called hostile, however it is spelt."""

from __future__ import annotations

import codecs
import contextlib
import io
import pickle
import struct
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError
from grokpack.formats import pickle as pickles
from tests.support.pickles.sources import Memory

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS: list[object] = []
PAIR = ("posix", "system")


class Song:
    """Stands for a function off the list: it notes that it was called."""

    def __new__(cls, *words: object, **_: object) -> Self:
        CALLS.append(words)
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        CALLS.append(state)


def looked_up(module: str, name: str) -> Any:
    if (module, name) == PAIR:
        return Song
    if (module, name) == ("_codecs", "encode"):
        return codecs.encode
    raise pickle.UnpicklingError


class Compiled(pickle.Unpickler):
    """CPython's machine."""

    def find_class(self, module: str, name: str) -> Any:
        return looked_up(module, name)


class Interpreted(pickle._Unpickler):
    """The machine that Python has where it was not compiled."""

    def find_class(self, module: str, name: str) -> Any:
        return looked_up(module, name)


def runs(data: bytes) -> bool:
    """Whether a machine calls something, in the first pickle or a later one."""
    CALLS.clear()
    for machine in (Compiled, Interpreted):
        stream = io.BytesIO(data)
        with contextlib.suppress(Exception):
            while stream.tell() < len(data):
                machine(stream).load()
    return bool(CALLS)


def code_of(data: bytes) -> str:
    with pytest.raises(GrokpackError) as caught:
        pickles.read(Memory(data), "tensor00017_000")
    return caught.value.code


# Spellings


def counted(code: bytes, form: str) -> Callable[[str], bytes]:
    return lambda text: code + struct.pack(form, len(text)) + text.encode()


def turned(text: str) -> bytes:
    """Text that a call makes out of other text."""
    words = f"V{codecs.encode(text, 'rot13')}\nVrot13\n".encode()
    return b"c_codecs\nencode\n(" + words + b"tR"


TEXTS: list[Callable[[str], bytes]] = [
    counted(b"X", "<I"),
    counted(b"\x8c", "<B"),
    counted(b"\x8d", "<Q"),
    counted(b"U", "<B"),
    counted(b"T", "<i"),
    lambda text: f"V{text}\n".encode(),
    lambda text: "V{}\n".format("".join(f"\\u{ord(letter):04x}" for letter in text)).encode(),
    lambda text: f"S'{text}'\n".encode(),
    lambda text: f'S"{text}" \n'.encode(),
    lambda text: "S'{}'\n".format("".join(f"\\x{ord(letter):02x}" for letter in text)).encode(),
    turned,
]
INDICES = ["{}", "+{}", " {} ", "0{}", "{}_0", "{:025d}", "-0", "\t{}\r", "{}\0x"]
"""Spellings of a number that Python's `int` takes."""


@st.composite
def spelt(draw: st.DrawFn, text: str) -> bytes:
    """Text on the stack, said in one of the ways there are."""
    said = draw(st.sampled_from(TEXTS))(text)
    kind = draw(st.integers(0, 5))
    if kind == 0:  # through the memo
        index = draw(st.sampled_from(INDICES)).format(draw(st.integers(0, 9))).encode()
        return said + b"p" + index + b"\n0g" + index + b"\n"
    if kind == 1:
        return said + b"q\x07" + b"0h\x07"
    if kind == 2:
        return said + b"20"
    return said


IDLE = [
    b"", b"N0", b"(0", b"(N1", b"]0", b"}N\x8c\x00s0", b"I01\n0", b"I 7_0 \n0", b"L5L\n0",
    b"F1e5\n0", b"\x80\x02", b"\x80\x05", b"\x95" + bytes(8), b"G" + bytes(8) + b"0", b"\x8a\x000",
    b"\x8f0", b"\x98", b"C\x00r\xff\x00\x00\x000", b"N\x85\x85\x940", b"(lp77\n0", b"(dp+8\n0",
    b"NNb0", b"N)b0", b"\x95\x01" + bytes(7) + b"I1\n0", b"\x95\x03" + bytes(7) + b"U\x01)U\x01(0",
]  # fmt: skip
"""Opcodes that leave the stack as it is."""


@st.composite
def named(draw: st.DrawFn) -> bytes:
    """The function on the stack."""
    module, name = PAIR
    if draw(st.booleans()):
        return f"c{module}\n{name}\n".encode()
    return draw(spelt(module)) + draw(st.sampled_from(IDLE)) + draw(spelt(name)) + b"\x93"


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    """A pickle that calls it."""
    argument = draw(spelt("true"))
    idle = draw(st.sampled_from(IDLE))
    kind = draw(st.integers(0, 5))
    if kind == 0:
        call = draw(named()) + idle + argument + b"\x85R"
    elif kind == 1:
        call = b"(" + draw(named()) + argument + idle + b"o"
    elif kind == 2:
        end = draw(st.sampled_from([b"\n", b"x"]))  # the end of the file is an end of the line, too
        call = b"(" + argument + idle + "i{}\n{}".format(*PAIR).encode() + end
    elif kind == 3:
        call = draw(named()) + idle + b"(" + argument + b"t\x81"
    elif kind == 4:
        call = draw(named()) + idle + argument + b"\x85}\x92"
    else:
        call = draw(named()) + idle + b")R" + argument + b"b"
    first = draw(st.sampled_from([b"", b"N.", b"\x80\x04].", b"\x80\x03"]))
    return first + draw(st.sampled_from(IDLE)) + call + draw(st.sampled_from([b".", b"", b"0N."]))


@given(calls())
def test_what_a_machine_runs_is_hostile_however_it_is_spelt(data: bytes) -> None:
    if runs(data):  # not where a draw made what the machines refuse
        assert code_of(data) in ("GP204", "GP205")


TRUE = b"X\x04\x00\x00\x00true\x85R."
OWN: dict[str, bytes] = {
    "a sign before an index": b"Vposix\np+1\n0Vsystem\np2\n0g+1\ng2\n\x93" + TRUE,
    "an index behind 600 zeros": b"".join(
        [b"N0"]
        + [b"V%s\np%s%d\n0" % (word, b"0" * 600, i)
           for i, word in enumerate((b"posix", b"numpy"))]
        + [b"g%s0\n" % (b"0" * 600)]
        + [b"V%s\np%s%d\n0" % (word, b"0" * 600, i)
           for i, word in enumerate((b"system", b"dtype"))]
        + [b"g%s0\n\x93" % (b"0" * 600) + TRUE]
    ),
    "a name that is computed": turned("posix") + turned("system") + b"\x93" + TRUE,
    "an empty state before": b"NNb0cposix\nsystem\n" + TRUE,
    "a line that ends with the file": b"(Vtrue\niposix\nsystem!",
    "what is behind a frame that an argument runs over": b"\x95" + struct.pack("<Q", 4)
    + b"U\x06ab" + b"cdefgR" + b"0Vposix\nVsystem\n\x93" + TRUE,
}  # fmt: skip
"""Attacks that run in at least one machine."""


@pytest.mark.parametrize("name", OWN)
def test_what_only_one_machine_takes_is_hostile(name: str) -> None:
    assert runs(OWN[name])
    assert code_of(OWN[name]) in ("GP204", "GP205")
