"""Variants of packed weights: inputs in another order than in groups, zero points stored whole.

The integers beside the codes show which variant it is. Settings can be wrong or missing. Engines
use these arrays, so they decide here as well.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from grokpack import storage
from grokpack.checkpoint.readers.packed_arrays import INTEGERS, is_awq
from grokpack.core.errors import MalformedInput, Place, UnsupportedLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.core.tensors import ArraySpec
    from grokpack.formats.pickle import StoredArray
    from grokpack.formats.safetensors import SafetensorsHeader

    ReadIntegers = Callable[[str, int, int], np.ndarray]

_ORDERS = {".g_idx": (".scales", -2), ".weight_g_idx": (".weight_scale", -1)}
"""Arrays that give each input its group, and the axis of the scales that counts groups."""
_BLOCK = 1 << 18  # inputs that are compared at a time
_ZEROS, _BIAS = ".qzeros", ".bias"
_SAMPLES = 16  # weights whose zero points are sampled
_SAMPLE_WORDS = 1024  # of each
_MIDDLES = {4: 0x88888888, 8: 0x80808080}
"""Words of zero points in the middle of the codes, stored without the offset of one."""
_UNSET = -1  # value of every element of an order that compressed-tensors has not set
OrderForm = Literal["plain", "unset", "mixed"]


@dataclass(frozen=True, slots=True)
class InputOrder:
    """Order of a weight's inputs: the group of each.

    Attributes:
        name: The array, `i32[in]` or `i64[in]`.
        inputs: Its length.
        groups: Number of groups of the scales.
    """

    name: str
    inputs: int
    groups: int

    def form(self, folder: str, read: ReadIntegers) -> OrderForm:
        """Find out whether the inputs are in their natural order, equally many in each group.

        Args:
            folder: Folder of the array, for the error.
            read: Reads integers of an array.

        Returns:
            `plain`, `unset` where the array only stands for the natural order, or `mixed`.

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
        return "plain" if plain else "unset" if unset else "mixed"


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
        if stored.spec.dtype in INTEGERS
    }

    def read(name: str, start: int, count: int) -> np.ndarray:
        path, stored = places[name]
        dtype = stored.spec.dtype
        data = storage.FileBytes(os.path.join(folder, path))
        octets = data.read(stored.offset + start * dtype.itemsize, count * dtype.itemsize)
        return np.frombuffer(octets, dtype.numpy())

    return read


def zero_biases(folder: str, headers: Mapping[str, SafetensorsHeader]) -> frozenset[str]:
    """Find biases of GPTQ weights that hold zeros alone, which some tools write for all layers.

    Engines leave them out for a model without biases.
    """
    words = {name for header in headers.values() for name in header.arrays}
    found = [
        (name, path, stored)
        for path, header in headers.items()
        for name, stored in header.arrays.items()
        if name.endswith(_BIAS) and f"{name.removesuffix(_BIAS)}.qweight" in words
    ]

    def is_zero(place: tuple[str, str, StoredArray]) -> bool:
        _, path, stored = place
        data = storage.FileBytes(os.path.join(folder, path))
        return not any(data.read(stored.offset, stored.spec.nbytes))

    zeros = storage.map_all(folder, is_zero, found)
    return frozenset(name for (name, *_), zero in zip(found, zeros, strict=True) if zero)


def find_orders(folder: str, arrays: Mapping[str, ArraySpec], read: ReadIntegers) -> frozenset[str]:
    """Find the arrays that give each input its group, if inputs of any weight are out of order.

    Args:
        folder: Folder of the packed weights.
        arrays: The folder's arrays.
        read: Reads integers of one of them.

    Returns:
        The arrays of all weights that have such an order, plain ones among them: experts are read
        alike. None where every order is plain.

    Raises:
        GrokpackError: GP209 for an order with unknown groups.
    """
    found = orders(arrays)
    forms = storage.map_all(folder, lambda order: order.form(folder, read), found)
    if "mixed" not in forms:
        return frozenset()
    return frozenset(o.name for o, form in zip(found, forms, strict=True) if form != "unset")


def orders(arrays: Mapping[str, ArraySpec]) -> list[InputOrder]:
    """Return the orders of a folder's weights whose shapes fit the scales."""
    found = []
    for name, spec in arrays.items():
        for ending, (scales, axis) in _ORDERS.items():
            other = arrays.get(name.removesuffix(ending) + scales)
            if not name.endswith(ending) or len(spec.shape) != 1 or spec.dtype not in INTEGERS:
                continue
            groups = other.shape[axis] if other and len(other.shape) > 1 else 0
            if groups and spec.shape[0] >= groups:
                found.append(InputOrder(name, spec.shape[0], groups))
    return found


def refuse_whole_zeros(folder: str, arrays: Mapping[str, ArraySpec], read: ReadIntegers) -> None:
    """Refuse GPTQ's zero points in the second form, where the words prove it.

    Symmetric codes have all zero points in the middle, which the first form stores less one. Those
    of AWQ are stored as they are.

    Raises:
        GrokpackError: GP208 if every sampled word is the middle itself.
    """
    names = [
        name
        for name in arrays
        if name.endswith(_ZEROS)
        and arrays[name].elements
        and not is_awq(arrays, name.removesuffix(_ZEROS))
    ]
    chosen = names[:: max(1, len(names) // _SAMPLES)]
    words = [read(name, 0, min(arrays[name].elements, _SAMPLE_WORDS)) for name in chosen]
    for bits, middle in _MIDDLES.items():
        if words and all((sample.view(np.uint32) == middle).all() for sample in words):
            what = "GPTQ weights are read in the first form only, whose zero points are less one"
            facts = (("zero points", f"all {middle & (2**bits - 1)}, as gptq_v2 stores them"),)
            raise UnsupportedLayout(what, Place(folder, tensor=chosen[0]), facts)
