"""Arrays of each weight, against compressed_tensors' own packing, quantizing, decompressing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import quantize
from compressed_tensors.utils.match import match_targets

from tests.oracle.ct.results import Result
from tests.support import packed_formula

if TYPE_CHECKING:
    from tests.oracle.ct.folders import Folder, Part

COUNTED = (
    "weights whose shape is not theirs",
    "weights whose scheme is not what their arrays are",
    "codes that it unpacks otherwise",
    "zero points that it unpacks otherwise",
    "words that it packs otherwise",
    "words of zero points that it packs otherwise",
    "codes that its quantize chooses otherwise",
    "weights that it decompresses otherwise, in float32",
    "weights that it decompresses otherwise, in the scales' dtype",
    "arrays that it compresses otherwise",
)


def check_codec(folder: Folder) -> Iterator[Result]:
    """Compare every packed weight; counts of what differs."""
    config = QuantizationConfig.model_validate(folder.quantization)
    schemes = {t: scheme for scheme in config.config_groups.values() for t in scheme.targets}
    found, weights = Counter[str](), 0
    for part in folder.parts():
        if not folder.packed(part.module):
            continue
        target = match_targets(part.module, torch.nn.Linear(1, 1), schemes)[0]
        found.update(dict(zip(COUNTED, _weight(folder, part, schemes[target]), strict=True)))
        weights += 1
    yield Result("weights", weights, None)
    yield Result("folders without packed weights", int(weights == 0))
    yield from (Result(what, found[what]) for what in COUNTED)


def _weight(folder: Folder, part: Part, scheme: QuantizationScheme) -> list[int]:
    """Counts as they are listed above."""
    state = state_of(folder, part.module)
    bits, shape = folder.bits(part.module), part.exact.shape
    words, scale = state["weight_packed"], state["weight_scale"].float()
    codes = torch.from_numpy(_codes(words.numpy(), bits)[:, : shape[1]])
    zeros = _zeros(state, bits, shape[0], scale.shape[1])
    unpacked = unpack_from_int32(words, bits, torch.Size(shape))
    its_zeros = None
    packed_zeros = state.get("weight_zero_point")
    if packed_zeros is not None:
        rows = torch.Size((shape[0], scale.shape[1]))
        its_zeros = unpack_from_int32(packed_zeros, bits, rows, packed_dim=0)
    chosen = quantize(torch.from_numpy(part.exact), scale, zeros, scheme.weights, dtype=torch.int8)
    return [
        int(tuple(state["weight_shape"].tolist()) != shape),
        int(_described(scheme, shape[1]) != _found(state, bits, shape[1])),
        _unlike(unpacked, codes),
        0 if its_zeros is None else _unlike(its_zeros, zeros),
        _unlike(pack_to_int32(codes, bits), words),
        0 if zeros is None else _unlike(pack_to_int32(zeros, bits, packed_dim=0), packed_zeros),
        _unlike(chosen, codes),
        *_decompressed(folder, part.module, state, scheme),
        _compressed(state, scheme),
    ]


def state_of(folder: Folder, module: str) -> dict[str, torch.Tensor]:
    """A module's arrays as torch has them."""
    prefix = f"{module}."
    named = {n.removeprefix(prefix): a for n, a in folder.arrays.items() if n.startswith(prefix)}
    return {name: tensor(array) for name, array in named.items()}


def tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    if array.dtype.name == "float8_e4m3fn":
        return torch.from_numpy(array.view(np.uint8)).view(torch.float8_e4m3fn)
    return torch.from_numpy(array)


def _codes(words: np.ndarray, bits: int) -> np.ndarray:
    """Signed codes by the second formula."""
    return (packed_formula.fields(words, bits) - (1 << (bits - 1))).astype(np.int8)


def _zeros(
    state: dict[str, torch.Tensor], bits: int, outputs: int, groups: int
) -> torch.Tensor | None:
    """Signed zero points `[out, group]` by the second formula."""
    if "weight_zero_point" not in state:
        return None
    words = state["weight_zero_point"].numpy()
    found = _codes(np.ascontiguousarray(words.T), bits).T[:outputs]
    assert found.shape == (outputs, groups)
    return torch.from_numpy(np.ascontiguousarray(found))


def _described(scheme: QuantizationScheme, inputs: int) -> tuple[object, ...]:
    args = scheme.weights
    group = args.group_size if args.strategy == "group" else inputs
    return args.num_bits, group, args.symmetric


def _found(state: dict[str, torch.Tensor], bits: int, inputs: int) -> tuple[object, ...]:
    return bits, inputs // state["weight_scale"].shape[1], "weight_zero_point" not in state


def _unlike(one: torch.Tensor, other: torch.Tensor) -> int:
    if one.shape != other.shape or one.dtype != other.dtype:
        return max(one.numel(), other.numel())
    return int((one != other).sum())


def _decompressed(
    folder: Folder, module: str, state: dict[str, torch.Tensor], scheme: QuantizationScheme
) -> tuple[int, int]:
    """Values that differ from the second formula, rounded once to the dtype of the scales."""
    wanted = torch.from_numpy(folder.matrix(module))
    wide = {**state, "weight_scale": state["weight_scale"].float()}
    exact = PackedQuantizationCompressor.decompress(wide, scheme)["weight"]
    plain = PackedQuantizationCompressor.decompress(state, scheme)["weight"]
    return _unlike(exact, wanted.float()), _unlike(plain, wanted.to(plain.dtype))


def _compressed(state: dict[str, torch.Tensor], scheme: QuantizationScheme) -> int:
    """Arrays that come back otherwise from decompressing and compressing again."""
    wide = {**state, "weight_scale": state["weight_scale"].float()}
    opened = PackedQuantizationCompressor.decompress(wide, scheme)
    dense = {k: v for k, v in opened.items() if k not in ("weight_packed", "weight_shape")}
    again = PackedQuantizationCompressor.compress(dense, scheme)
    return sum(
        name not in again or name not in wide or _unlike(again[name], wide[name]) > 0
        for name in {*again, *wide}
    )
