"""Bytes in memory, and pickles as xAI's environment wrote them: protocol 4, numpy 1.x names."""

from __future__ import annotations

import contextlib
import pickle
import re
import sys
import types
import unittest.mock
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.formats import pickle as pickles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.tensors import ArraySpec

_BF16_NUMBERS = re.compile(rb"(K\x02(?:\x95.{8})?K\x02(?:\x95.{8})?K)[\x40\x50]", re.DOTALL)
"""Size, alignment and flags of bfloat16, also where a frame begins between them. The flags are
0x50 up to ml_dtypes 0.5.1, as in the release, and 0x40 since."""


@dataclass(slots=True)
class Memory:
    """A file in memory that refuses reads past its end and counts what is read."""

    data: bytes
    reads: list[int] = field(default_factory=list)

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, nbytes: int) -> bytes:
        assert 0 <= offset <= offset + nbytes <= len(self.data), "read past the end"
        self.reads.append(nbytes)
        return self.data[offset : offset + nbytes]


@dataclass(slots=True)
class Hollow:
    """A file of any size whose payloads are zeros that nobody should read."""

    pickled: pickles.Pickled
    reads: list[int] = field(default_factory=list)

    def size(self) -> int:
        return self.pickled.nbytes

    def read(self, offset: int, nbytes: int) -> bytes:
        assert 0 <= offset <= offset + nbytes <= self.pickled.nbytes, "read past the end"
        self.reads.append(nbytes)
        window, at = bytearray(nbytes), 0
        gaps = [*(a.spec.nbytes for a in self.pickled.arrays()), 0]
        for literal, gap in zip(self.pickled.literals, gaps, strict=True):
            low, high = max(at, offset), min(at + len(literal), offset + nbytes)
            if low < high:
                window[low - offset : high - offset] = literal[low - at : high - at]
            at += len(literal) + gap
        return bytes(window)


class QuantizedWeight8bit:
    """A class that pickles as xAI's does: by its name, with a dict of two fields."""

    def __init__(self, weight: Any, scales: Any) -> None:
        self.weight = weight
        self.scales = scales


@contextlib.contextmanager
def quantized_class_in(module: str) -> Iterator[None]:
    """QuantizedWeight8bit is found under `module`, as when xAI's run.py is the main program."""
    home = sys.modules.get(module) or types.ModuleType(module)
    with (
        unittest.mock.patch.dict(sys.modules, {module: home}),
        unittest.mock.patch.object(home, "QuantizedWeight8bit", QuantizedWeight8bit, create=True),
        unittest.mock.patch.object(QuantizedWeight8bit, "__module__", module),
    ):
        yield


@contextlib.contextmanager
def numpy_1_names() -> Iterator[None]:
    """Pickling calls numpy's constructors by the module names of numpy 1.x."""
    from numpy._core import multiarray, numeric

    old = {}
    with contextlib.ExitStack() as stack:
        for module, name in ((multiarray, "_reconstruct"), (numeric, "_frombuffer")):
            function, home = getattr(module, name), f"numpy.core.{module.__name__.split('.')[-1]}"
            old[home] = types.SimpleNamespace(**{name: function})
            was = function.__module__
            function.__module__ = home
            stack.callback(setattr, function, "__module__", was)
        stack.enter_context(unittest.mock.patch.dict(sys.modules, old))
        yield


def dumped(obj: Any, protocol: int, module: str = "__main__") -> bytes:
    """What CPython's C pickler writes for this object today."""
    with quantized_class_in(module):
        return pickle.dumps(obj, protocol=protocol)


def dumped_as_released(obj: Any) -> bytes:
    """What it writes under numpy 1.x and the ml_dtypes of the release, for payloads of zeros."""
    with numpy_1_names():
        return released_flags(dumped(obj, 4))


def released_flags(data: bytes) -> bytes:
    return _BF16_NUMBERS.sub(rb"\1P", data)


def zeros(spec: ArraySpec) -> np.ndarray[Any, Any]:
    return np.zeros(spec.shape, spec.dtype.numpy())


def zeros_object(values: ArraySpec, scales: ArraySpec | None) -> Any:
    """The object that `frame(values, scales)` frames, holding zeros."""
    if scales is None:
        return zeros(values)
    return QuantizedWeight8bit(zeros(values), zeros(scales))


def filled(pickled: pickles.Pickled, payloads: list[bytes]) -> bytes:
    """The file: literals with these payloads between them."""
    parts = [pickled.literals[0]]
    for payload, literal in zip(payloads, pickled.literals[1:], strict=True):
        parts += [payload, literal]
    return b"".join(parts)


def read(data: bytes) -> pickles.Pickled:
    return pickles.read(Memory(data), "tensor00000_000")


def payloads(data: bytes, pickled: pickles.Pickled) -> list[bytes]:
    """The bytes of each array, cut out where the reader says they are."""
    return [data[a.offset : a.offset + a.spec.nbytes] for a in pickled.arrays()]
