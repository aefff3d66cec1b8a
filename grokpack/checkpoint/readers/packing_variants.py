"""Variants of packed weights that are not read: AWQ, act-order, zero points stored whole.

The integers beside the codes show which variant it is. Settings can be wrong or missing. Engines
use these arrays, so they decide here as well.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.core.errors import MalformedInput, Place, UnsupportedLayout
from grokpack.core.tensors import DType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from grokpack.core.tensors import ArraySpec
    from grokpack.formats.safetensors import SafetensorsHeader

    ReadIntegers = Callable[[str, int, int], np.ndarray]

_ORDERS = {".g_idx": (".scales", -2), ".weight_g_idx": (".weight_scale", -1)}
"""Arrays that give each input its group, and the axis of the scales that counts groups."""
_INTEGERS = (DType.I32, DType.I64)
_BLOCK = 1 << 18  # inputs that are compared at a time
_SAMPLES = 16  # weights whose zero points are sampled
_SAMPLE_WORDS = 1024  # of each
_MIDDLES = {4: 0x88888888, 8: 0x80808080}
"""Words of zero points in the middle of the codes, stored without the offset of one."""
_UNSET = -1  # value of every element of an order that compressed-tensors has not set
_HINT = "quantize it without act-order (`desc_act`), or take a copy in bfloat16 or float16"


@dataclass(frozen=True, slots=True)
class InputOrder:
    """Order of a weight's inputs: the group of each.

    Attributes:
        name: The array, `i32[in]`.
        inputs: Its length.
        groups: Number of groups of the scales.
    """

    name: str
    inputs: int
    groups: int

    def is_plain(self, folder: str, read: ReadIntegers) -> bool:
        """Return whether the inputs are in their natural order, equally many in each group.

        Args:
            folder: Folder of the array, for the error.
            read: Reads integers of an array.

        Raises:
            GrokpackError: GP209 for a group that the scales do not have.
        """
        plain = unset = True
        for start in range(0, self.inputs, _BLOCK):
            stop = min(start + _BLOCK, self.inputs)
            found = read(self.name, start, stop - start)
            if (found == _plain(start, stop, self.inputs // self.groups)).all():
                unset = False
                continue
            plain = False
            unset &= bool((found == _UNSET).all())
            if not unset and (found.min() < 0 or found.max() >= self.groups):
                what = f"an input belongs to a group that is none of the {self.groups}"
                raise MalformedInput(what, Place(folder, tensor=self.name))
        return plain or unset


@lru_cache(maxsize=8)  # weights of a model have few shapes
def _plain(start: int, stop: int, per_group: int) -> np.ndarray:
    """Return the groups of inputs in their natural order."""
    return (np.arange(start, stop) // per_group).astype(np.int32)


def integer_reader(folder: str, headers: Mapping[str, SafetensorsHeader]) -> ReadIntegers:
    """Return a function that reads a run of integers of an array, by name."""
    places = {
        name: (path, stored)
        for path, header in headers.items()
        for name, stored in header.arrays.items()
        if stored.spec.dtype in _INTEGERS
    }

    def read(name: str, start: int, count: int) -> np.ndarray:
        path, stored = places[name]
        dtype = stored.spec.dtype
        data = storage.FileBytes(os.path.join(folder, path))
        octets = data.read(stored.offset + start * dtype.itemsize, count * dtype.itemsize)
        return np.frombuffer(octets, dtype.numpy())

    return read


def refuse_variants(folder: str, arrays: Mapping[str, ArraySpec], read: ReadIntegers) -> None:
    """Refuse packed weights whose integers show a form that is not read.

    Args:
        folder: Their folder.
        arrays: The folder's arrays.
        read: Reads integers of one of them.

    Raises:
        GrokpackError: GP208 that names the form, GP209 for an order with unknown groups.
    """
    _refuse_awq(folder, arrays)
    found = orders(arrays)
    plain = storage.map_all(folder, lambda order: order.is_plain(folder, read), found)
    refuse_orders(folder, zip(found, plain, strict=True))
    refuse_whole_zeros(folder, arrays, read)


def _refuse_awq(folder: str, arrays: Mapping[str, ArraySpec]) -> None:
    """Refuse codes that are packed along the outputs, as AWQ does."""
    for name, spec in arrays.items():
        base = name.removesuffix(".qweight")
        scales = arrays.get(f"{base}.scales")
        if base == name or scales is None or f"{base}.g_idx" in arrays:
            continue
        if scales.shape[-1:] != spec.shape[-1:]:
            what = "weights that are packed along their outputs, as AWQ does, are not read"
            raise UnsupportedLayout(what, Place(folder, tensor=name), hint=_HINT)


def orders(arrays: Mapping[str, ArraySpec]) -> list[InputOrder]:
    """Return the orders of a folder's weights whose shapes fit the scales."""
    found = []
    for name, spec in arrays.items():
        for ending, (scales, axis) in _ORDERS.items():
            other = arrays.get(name.removesuffix(ending) + scales)
            if not name.endswith(ending) or len(spec.shape) != 1 or spec.dtype is not DType.I32:
                continue
            groups = other.shape[axis] if other and len(other.shape) > 1 else 0
            if groups and spec.shape[0] >= groups:
                found.append(InputOrder(name, spec.shape[0], groups))
    return found


def refuse_orders(folder: str, found: Iterable[tuple[InputOrder, bool]]) -> None:
    """Refuse weights whose inputs are in another order.

    Args:
        folder: Their folder.
        found: Each order, and whether it is the natural one.

    Raises:
        GrokpackError: GP208 with the number of weights, and the first of them.
    """
    rows = list(found)
    other = [order.name for order, plain in rows if not plain]
    if other:
        what = (
            "weights in act-order are not read: their inputs stand in another order than in groups"
        )
        facts = (("in act-order", f"{len(other):,} of {len(rows):,} weights"),)
        raise UnsupportedLayout(what, Place(folder, tensor=other[0]), facts, _HINT)


def refuse_whole_zeros(folder: str, arrays: Mapping[str, ArraySpec], read: ReadIntegers) -> None:
    """Refuse GPTQ's zero points in the second form, where the words prove it.

    Symmetric codes have all zero points in the middle, which the first form stores less one.

    Raises:
        GrokpackError: GP208 if every sampled word is the middle itself.
    """
    names = [name for name in arrays if name.endswith(".qzeros") and arrays[name].elements]
    chosen = names[:: max(1, len(names) // _SAMPLES)]
    words = [read(name, 0, min(arrays[name].elements, _SAMPLE_WORDS)) for name in chosen]
    for bits, middle in _MIDDLES.items():
        if words and all((sample.view(np.uint32) == middle).all() for sample in words):
            what = "GPTQ weights are read in the first form only, whose zero points are less one"
            facts = (("zero points", f"all {middle & (2**bits - 1)}, as gptq_v2 stores them"),)
            raise UnsupportedLayout(what, Place(folder, tensor=chosen[0]), facts)
