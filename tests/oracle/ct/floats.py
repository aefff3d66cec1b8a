"""Four-bit floats against compressed_tensors' own scales, quantizing, packing and decompressing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

from tests.oracle.ct.codec import state_of
from tests.oracle.ct.results import Result
from tests.support import packed_formula

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    from tests.oracle.ct.folders import Folder, Part

COUNTED = (
    "weights that it decompresses otherwise",
    "global scales that it chooses otherwise for fused weights",
    "scales that it chooses otherwise",
    "codes that it chooses otherwise",
)
FUSED = (("query", "key", "value"), ("expert_gate", "expert_up"))


def check_floats(folder: Folder) -> Iterator[Result]:
    """Compare every weight; what it chooses is compared where no scale was searched for."""
    config = QuantizationConfig.model_validate(folder.quantization)
    (scheme,) = config.config_groups.values()
    compressor = NVFP4PackedCompressor if scheme.weights.group_size == 16 else MXFP4PackedCompressor
    parts = list(folder.parts())
    plain = "rtn" in folder.path.name
    found = Counter[str]()
    for part in parts:
        state = state_of(folder, part.module)
        own = torch.from_numpy(packed_formula.fp4(folder.arrays, part.module))
        its = compressor.decompress(state, scheme)["weight"]
        found[COUNTED[0]] += int((its != own.to(its.dtype)).sum())
        if plain:
            found.update(_chosen(state, part, parts, scheme, compressor))
    yield Result("weights", len(parts), None)
    yield from (Result(what, found[what]) for what in COUNTED[: 4 if plain else 1])


def _chosen(
    state: dict[str, torch.Tensor],
    part: Part,
    parts: list[Part],
    scheme: QuantizationScheme,
    compressor: type[NVFP4PackedCompressor],
) -> dict[str, int]:
    """Counts of what it chooses otherwise."""
    weight = torch.from_numpy(part.exact)
    whole = None
    if "weight_global_scale" in state:
        together = [torch.from_numpy(one.exact) for one in parts if _fused(one, part)]
        low, high = (
            edge(torch.stack([edge(w) for w in together])) for edge in (torch.min, torch.max)
        )
        whole = generate_gparam(low, high)
    groups = weight.unflatten(1, (-1, scheme.weights.group_size))
    scales = _scales(groups, scheme.weights, whole)
    dense = {"weight": weight, "weight_scale": scales}
    if whole is not None:
        dense["weight_global_scale"] = whole
    made = compressor.compress(dense, scheme)
    return {
        COUNTED[1]: 0 if whole is None else int((whole != state["weight_global_scale"]).sum()),
        COUNTED[2]: _unlike(made["weight_scale"], state["weight_scale"]),
        COUNTED[3]: _unlike(made["weight_packed"], state["weight_packed"]),
    }


def _scales(
    groups: torch.Tensor, args: QuantizationArgs, whole: torch.Tensor | None
) -> torch.Tensor:
    scales, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), args, global_scale=whole)
    return scales


def _unlike(one: torch.Tensor, other: torch.Tensor) -> int:
    """Count bytes that differ."""
    return int((one.view(torch.uint8) != other.view(torch.uint8)).sum())


def _fused(one: Part, other: Part) -> bool:
    """Tell whether engines put two matrices together."""
    names = next((names for names in FUSED if other.entry.rule.part in names), None)
    where = (one.entry.layer, one.expert) == (other.entry.layer, other.expert)
    return where and one.entry.rule.part in (names or (other.entry.rule.part,))
