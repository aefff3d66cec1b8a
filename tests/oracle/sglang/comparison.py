"""Parameters that SGLang has loaded, compared with what the released weights make them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import ml_dtypes
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from tests.oracle.sglang import standin

Array = np.ndarray
FP8_MAX = 448
Place = tuple[int, int]
"""How many ranks there are, and which of them it is."""
Swaps = dict[str, tuple[str, str]]
"""Two arrays of a file by what is wrong when they are in each other's place."""


class Source(Protocol):
    """Released weights, as a loader of their own reads them.

    Attributes:
        multiplier: Of the logits; SGLang multiplies the head with it.
    """

    multiplier: float

    def expected(self, name: str, place: Place) -> Array:
        """What a parameter in floating point must be before it is rounded, `f32[...]`."""

    def codes(self, name: str, place: Place) -> tuple[Array, Array] | None:
        """Released codes and scales that a parameter must have; None where codes are new."""


def cut(values: Array, axis: int, place: Place) -> Array:
    """A rank's share along an axis."""
    return np.split(values, place[0], axis)[place[1]]


def _rounded(values: Array, dtype: torch.dtype) -> Array:
    """Float32 after one rounding."""
    if dtype is torch.bfloat16:
        return values.astype(ml_dtypes.bfloat16).astype(np.float32)
    return values


def _float_is_right(
    source: Source, name: str, found: torch.Tensor, stored: torch.dtype, place: Place
) -> bool:
    """Whether a parameter is exactly what it must be."""
    wanted = source.expected(name, place)
    kept = stored if found.dtype is not torch.float32 or "gate" not in name else torch.float32
    if name == "lm_head.weight":  # SGLang multiplies it in float32, from what the file has
        wanted = _rounded(wanted, kept) * np.float32(source.multiplier)
    wanted = _rounded(wanted, found.dtype)
    return bool(np.array_equal(found.float().numpy(), wanted))


def _codes_are_right(
    source: Source, name: str, model: dict[str, torch.Tensor], place: Place
) -> bool:
    """Whether int8 codes times their scales are the weight: the released codes where they can be.

    Else no weight is farther from its code than half a step.
    """
    codes, scales = model[name].numpy(), model[f"{name}_scale"].numpy()
    released = source.codes(name, place)
    if released is not None:
        return all(np.array_equal(a, b) for a, b in zip((codes, scales), released, strict=True))
    error = np.abs(codes.astype(np.float64) * scales - source.expected(name, place))
    # a rank's share of the inputs need not have the largest of an output
    used = place[0] > 1 or np.abs(codes.astype(np.int16)).max(axis=-1) >= 127
    return bool((error <= scales * 0.5001).all() and np.all(used))


def _fp8_is_right(source: Source, name: str, model: dict[str, torch.Tensor], place: Place) -> bool:
    """Whether each code is the nearest in units of its scale, and the range is used."""
    codes, scales = standin.codes_and_scales(model, name)
    wanted = source.expected(name, place).astype(np.float64)
    error = np.abs(codes.astype(np.float64) * scales - wanted)
    limit = np.abs(wanted) * 2.0**-4 + scales * 2.0**-10  # half a step, of normal and other codes
    return bool((error <= limit * 1.0001).all() and np.abs(codes).max() == FP8_MAX)


def wrong(source: Source, folder: Path, ranks: int, rank: int) -> Iterator[str]:
    """Parameters of a rank that are not what they must be."""
    dtype = json.loads((folder / "config.json").read_text(encoding="utf-8"))["torch_dtype"]
    model = standin.load(str(folder), ranks, rank, dtype)
    parameters = {name: p.data for name, p in model.named_parameters()}
    for name, found in parameters.items():
        if name.endswith(("_scale", "_scale_inv")):
            continue
        if found.dtype is torch.int8:
            good = _codes_are_right(source, name, parameters, (ranks, rank))
        elif found.dtype is torch.float8_e4m3fn:
            good = _fp8_is_right(source, name, parameters, (ranks, rank))
        else:
            good = _float_is_right(source, name, found, getattr(torch, dtype), (ranks, rank))
        if not good:
            yield name


def say(what: str, *, good: bool, said: str = "") -> bool:
    print(f"  {'ok  ' if good else 'FAIL'} {what:44} {said}", flush=True)
    return good


def check_folder(source: Source, name: str, folder: Path, widths: tuple[int, ...]) -> bool:
    good = True
    for ranks in widths:
        bad = [f"rank {r}: {n}" for r in range(ranks) for n in wrong(source, folder, ranks, r)]
        said = f"{bad[0]} and {len(bad) - 1} more" if bad else "every parameter of every rank"
        good = say(f"{name}, tp {ranks}", good=not bad, said=said) and good
    return good


def check_swapped(source: Source, folder: Path, work: Path, swaps: Swaps) -> bool:
    """Two arrays of a file in each other's place must be noticed."""
    good = True
    for what, (first, second) in swaps.items():

        def swap(arrays: dict[str, Any], a: str = first, b: str = second) -> None:
            if a in arrays:
                arrays[a], arrays[b] = arrays[b], arrays[a]

        good = noticed(source, f"{what} swapped", spoilt(folder, work / "spoilt", swap)) and good
    return good


def noticed(source: Source, what: str, folder: Path, place: Place = (1, 0)) -> bool:
    """Whether a rank of a spoilt folder has parameters that are wrong."""
    bad = list(wrong(source, folder, *place))
    return say(what, good=bool(bad), said=f"{len(bad)} noticed")


def spoilt(folder: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a folder with its arrays changed."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(folder, out)
    for path in out.glob("*.safetensors"):
        arrays = load_file(path)
        change(arrays)
        save_file(arrays, path, {"format": "pt"})
    return out
