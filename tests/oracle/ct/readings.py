"""Floats of eight and four bits: what compressed_tensors decompresses, beside what grokpack reads.

grokpack's reading of a folder is what `convert --to hf --dtype f32` makes of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.entrypoints.convert import FP8BlockDequantizer
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.utils.match import match_name, match_targets

from tests.oracle.ct.codec import tensor
from tests.oracle.ct.results import Result
from tests.support import packed_formula

if TYPE_CHECKING:
    import numpy as np

State = dict[str, torch.Tensor]
Decompress = Callable[[str, State], torch.Tensor]


def check_reading(folder: Path, plain: Path) -> Iterator[Result]:
    """Compare every quantized matrix, slices of ranks put together.

    Args:
        folder: What `quantize` wrote.
        plain: What `convert` made of it.
    """
    text = (folder / "config.json").read_text(encoding="utf-8")
    settings = json.loads(text)["quantization_config"]
    arrays, read = packed_formula.arrays(folder), packed_formula.arrays(plain)
    decompress, states = _decompressor(settings), _states(arrays)
    unlike = unnoticed = 0
    for module, slices in states.items():
        wanted = torch.from_numpy(read[f"{module}.weight"].copy())
        unlike += _unlike(module, slices, decompress, wanted)
        for name in slices[0]:
            if "scale" in name:
                broken = [_first_scales_gone(slices[0], name), *slices[1:]]
                unnoticed += _unlike(module, broken, decompress, wanted) == 0
    yield Result("weights", len(states), None)
    yield Result("folders without quantized weights", int(not states))
    yield Result("values read otherwise", unlike)
    yield Result("broken scales that nobody noticed", unnoticed)
    hit = {name for name in read if _ignored(settings, name.removesuffix(".weight"))}
    kept = {name for name in read if name.removesuffix(".weight") not in states}
    wanted_hits = {name for name in kept if "gate." in name or "lm_head" in name}
    yield Result("modules that are ignored wrongly, or not", len(hit ^ wanted_hits))


def _states(arrays: dict[str, np.ndarray]) -> dict[str, list[State]]:
    """Arrays of each quantized matrix by their last names, those of a rank after the other's."""
    found: dict[str, dict[str, State]] = {}
    for full, array in arrays.items():
        name, _, rank = full.partition("@")
        module, _, part = name.rpartition(".")
        found.setdefault(module, {}).setdefault(rank, {})[part] = tensor(array)
    return {
        module: [own for _, own in sorted(by_rank.items())]
        for module, by_rank in found.items()
        if any("scale" in part for own in by_rank.values() for part in own)
    }


def _decompressor(settings: dict[str, Any]) -> Decompress:
    """Its own code for the form that `quantization_config` has."""
    if settings["quant_method"] == "fp8":
        size = tuple(settings["weight_block_size"])
        blocks = FP8BlockDequantizer(["re:.*"], weight_block_size=size, dtype=torch.float32)
        return lambda _, state: blocks._create_dequantized_weight(
            state["weight"], state["weight_scale_inv"]
        )
    config = QuantizationConfig.model_validate(settings)
    schemes = {t: scheme for scheme in config.config_groups.values() for t in scheme.targets}
    compressor = BaseCompressor.get_value_from_registry(config.format)

    def decompress(module: str, state: State) -> torch.Tensor:
        target = match_targets(module, torch.nn.Linear(1, 1), schemes)[0]
        return compressor.decompress(state, schemes[target])["weight"]

    return decompress


def _unlike(module: str, slices: list[State], decompress: Decompress, wanted: torch.Tensor) -> int:
    """Count values that differ; ranks cut the inputs of down projections, else the outputs."""
    its = torch.cat([decompress(module, dict(own)) for own in slices], int(module.endswith("w2")))
    if its.shape != wanted.shape:
        return wanted.numel()
    return int((its != wanted.to(its.dtype)).sum())


def _first_scales_gone(state: State, name: str) -> State:
    scales = state[name].clone()
    scales[:1].view(torch.uint8).zero_()
    return {**state, name: scales}


def _ignored(settings: dict[str, Any], module: str) -> bool:
    if settings["quant_method"] == "fp8":
        return module in settings["modules_to_not_convert"]
    return any(match_name(module, pattern) for pattern in settings["ignore"])
