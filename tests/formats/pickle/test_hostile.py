"""Hostile files are refused with their code, at their byte, and nothing runs."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys

import pytest

from grokpack.core.errors import GrokpackError
from grokpack.formats import pickle as pickles
from tests.support.pickles import canary, zoo
from tests.support.pickles.sources import Memory, read

NAMES = [attack.name for attack in zoo.ATTACKS]


@pytest.mark.parametrize("attack", zoo.ATTACKS, ids=NAMES)
def test_an_attack_is_refused_and_nothing_runs(attack: zoo.Attack) -> None:
    memory = Memory(attack.data)
    with pytest.raises(GrokpackError) as caught:
        pickles.read(memory, "tensor00017_000")
    assert caught.value.code == attack.code, str(caught.value)
    assert canary.SONGS == []
    assert caught.value.where is not None
    assert caught.value.where.path == "tensor00017_000"
    byte = caught.value.where.byte
    assert byte is not None
    assert 0 <= byte <= len(attack.data)
    most = 3 << 20 if attack.code == "GP209" else 1 << 17  # damage is looked at more closely
    assert sum(memory.reads) < most, "a header is small, however large the file"
    shown = str(caught.value) + "".join(value for _, value in caught.value.facts)
    assert all(line.isprintable() for line in shown.splitlines())
    assert len(shown) < 1000


def test_no_two_attacks_have_one_name() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    "name",
    [
        "reduce",
        "inst",
        "in a shape",
        "after the payload",
        "inside a list",
        "protocol 0, the classic",
    ],
)
def test_the_attacks_are_real(name: str) -> None:
    """Python itself, in a process of its own, runs what the reader refuses."""
    attack = next(a for a in zoo.ATTACKS if a.name == name)
    program = (
        "import pickle, contextlib; from tests.support.pickles import canary\n"
        f"with contextlib.suppress(Exception): pickle.loads({attack.data!r})\n"
        "print(len(canary.SONGS))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "1\n"


def test_the_error_says_what_was_found_and_where() -> None:
    data = zoo.PROTOCOL + zoo.ARRAY + zoo.named("posix", "system") + b"0."
    with pytest.raises(GrokpackError) as caught:
        read(data)
    facts = dict(caught.value.facts)
    assert facts["found"] == "posix.system"
    assert "QuantizedWeight8bit" in facts["allowed"]
    assert caught.value.where is not None
    assert caught.value.where.byte == data.index(b"\x93", len(data) - 5)


def test_every_opcode_of_python_is_understood_or_refused() -> None:
    """Alone, after an array, and below one: no byte value makes the reader fail in another way."""
    befores = (b"", zoo.ARRAY, zoo.ARRAY + b"(", b"})", b"](", b"NNNN")
    afters = (b"", b".", bytes(12) + b".", zoo.ARRAY + b".")
    for protocol in (b"", b"\x80\x04"):
        for before in befores:
            for code in range(256):
                for after in afters:
                    with contextlib.suppress(GrokpackError):
                        read(protocol + before + bytes([code]) + after)


def test_reading_does_not_bring_in_the_module_that_runs_pickles() -> None:
    program = (
        "import sys\n"
        "from grokpack.core.tensors import ArraySpec, DType\n"
        "from grokpack.formats import pickle as pickles\n"
        "pickles.frame(ArraySpec((4,), DType.F32), None)\n"
        "print(sorted({'pickle', '_pickle', 'numpy', 'ml_dtypes'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_an_old_array_is_called_old_and_not_hostile(protocol: int) -> None:
    import numpy as np

    with pytest.raises(GrokpackError) as caught:
        read(pickle.dumps(np.zeros((3, 4), np.float32), protocol))
    assert caught.value.code == "GP206"


@pytest.mark.parametrize("count", [1, 300])
def test_old_arrays_of_any_bytes_are_not_called_hostile(count: int) -> None:
    import numpy as np

    weight = np.arange(256 * count, dtype=np.uint8).view(np.int8).reshape(count, 256)
    pair = {"weight": weight, "scales": np.ones((1, 256), np.float16), "more": [1.5, -7, "x"]}
    with pytest.raises(GrokpackError) as caught:
        read(pickle.dumps(pair, 2))
    assert caught.value.code == "GP206"
