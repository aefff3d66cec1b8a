"""What is no tensor and would run code is called hostile, wherever the code is; damage is not."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats import pickle as pickles
from tests.support.pickles import canary, wrapped
from tests.support.pickles.sources import Memory, filled

UNSAFE = ("GP204", "GP205")


def code_of(data: bytes) -> str | None:
    """The code that refuses a file; None for one that is read."""
    try:
        pickles.read(Memory(data), "tensor00017_000")
    except GrokpackError as error:
        assert canary.SONGS == []
        return error.code
    return None


@pytest.mark.parametrize("name", wrapped.TEXT_OPCODES)
@pytest.mark.parametrize("protocol", [b"", b"\x80\x00", b"\x80\x02", b"\x80\x04", b"\x80\x09"])
def test_a_call_behind_any_first_opcode_is_hostile(name: str, protocol: bytes) -> None:
    assert code_of(protocol + wrapped.TEXT_OPCODES[name] + b"0" + wrapped.OLD_CALL) == "GP204"


@pytest.mark.parametrize("name", wrapped.LATER)
def test_a_call_after_the_first_pickle_or_garbage_is_hostile(name: str) -> None:
    assert code_of(wrapped.LATER[name]) == "GP204"


@pytest.mark.parametrize("name", wrapped.WRAPPED)
def test_a_call_in_an_archive_is_hostile(name: str) -> None:
    assert code_of(wrapped.WRAPPED[name]) == "GP204"


def test_the_error_names_the_call_and_the_member() -> None:
    with pytest.raises(GrokpackError) as caught:
        pickles.read(Memory(wrapped.zipped()), "tensor00017_000")
    found = dict(caught.value.facts)["found"]
    assert found == "tests.support.pickles.canary.sing, in archive/data.pkl"


@pytest.mark.parametrize("name", wrapped.BOMBS)
def test_what_unfolds_without_end_is_refused(name: str) -> None:
    assert code_of(wrapped.BOMBS[name]()) == "GP205"


@pytest.mark.parametrize("name", wrapped.HARMLESS)
def test_what_would_run_nothing_is_no_tensor_and_not_hostile(name: str) -> None:
    assert code_of(wrapped.HARMLESS[name]) in ("GP206", "GP209")


@pytest.mark.parametrize("name", ["second pickle", "name in pieces of the memo"])
def test_the_attacks_are_real(name: str) -> None:
    """Python itself, in a process of its own, runs what is called hostile."""
    program = (
        "import contextlib, io, pickle; from tests.support.pickles import canary\n"
        f"stream = io.BytesIO({wrapped.LATER[name]!r})\n"
        "with contextlib.suppress(Exception):\n"
        "    while True: pickle.load(stream)\n"
        "print(len(canary.SONGS))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)  # fmt: skip


@given(values, st.integers(0, 5), st.integers(0, 5))
def test_python_s_own_plain_values_are_not_hostile_and_a_call_behind_them_is(
    value: object, protocol: int, later: int
) -> None:
    data = pickle.dumps(value, protocol)
    assert code_of(data) in ("GP206", "GP209")
    assert code_of(data + pickle.dumps(wrapped.Singer(), later)) == "GP204"
    assert code_of(data[:-1] + b"0" + wrapped.OLD_CALL) == "GP204"


def good_files() -> list[bytes]:
    dice = random.Random(3)
    specs = [ArraySpec((40, 50), DType.I8), ArraySpec((1, 50), DType.BF16)]
    frames = [pickles.frame(specs[0], specs[1]), pickles.frame(ArraySpec((700,), DType.F32), None)]
    return [
        filled(frame, [dice.randbytes(a.spec.nbytes) for a in frame.arrays()]) for frame in frames
    ]


FILES = good_files()


@given(st.sampled_from(FILES), st.data())
def test_files_that_are_cut_or_run_on_are_damaged_and_not_hostile(
    data: bytes, drawn: st.DataObject
) -> None:
    cut = drawn.draw(st.integers(0, len(data)))
    tail = drawn.draw(st.binary(max_size=50) | st.just(bytes(4096)) | st.just(b"\xff" * 600))
    assert code_of(data[:cut]) not in UNSAFE
    assert code_of(data + tail) not in UNSAFE or b"P" in tail or b"Q" in tail


def test_flipped_bits_are_seldom_called_hostile_outside_names() -> None:
    """A name that is off the list by a bit is off the list: nothing tells it from a forged one."""
    dice, hostile, tries = random.Random(11), 0, 0
    for data in FILES:
        names = {
            i
            for word in (b"numpy", b"multiarray", b"bfloat16", b"Quantized", b"dtype")
            for i in range(len(data))
            if data.find(word, max(0, i - 25), i + 25) >= 0
        }
        places = [i for i in range(len(data)) if i not in names]
        for _ in range(300):
            flipped = bytearray(data)
            flipped[dice.choice(places)] ^= 1 << dice.randrange(8)
            hostile += code_of(bytes(flipped)) in UNSAFE
            tries += 1
    assert hostile / tries < 0.02


def test_noise_is_not_hostile() -> None:
    dice = random.Random(5)
    found = [code_of(dice.randbytes(3000)) for _ in range(100)]
    assert sum(code in UNSAFE for code in found) <= 1
