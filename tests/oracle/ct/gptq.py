"""GPTQ folders, against GPTQModel's own packing and decoding.

GPTQModel keeps zero points as they are and stores them less one, in its format of version 1; its
scales are float16, so that codes and zero points are compared, and values with our scales.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.utils.model import (
    convert_gptq_v1_to_v2_format_module,
    convert_gptq_v2_to_v1_format_module,
)

from tests.oracle.ct.codec import state_of
from tests.oracle.ct.results import Result

if TYPE_CHECKING:
    from tests.oracle.ct.folders import Folder, Part

COUNTED = (
    "words that it packs otherwise, of our decoded weights",
    "words that it packs otherwise, of the exact weights",
    "words of zero points that it packs otherwise",
    "entries of g_idx that it makes otherwise",
    "weights that it decodes otherwise",
)

CHANGED = "changed"


def check_gptq(folder: Folder) -> Iterator[Result]:
    """Compare every packed weight; counts of what differs.

    A folder without an account says that it has the released codes.
    """
    found, weights = Counter[str](), 0
    manifest = json.loads((folder.path / "grokpack.json").read_text(encoding="utf-8"))
    for part in folder.parts():
        if folder.packed(part.module):
            found.update(dict(zip(COUNTED, _weight(folder, part), strict=True)))
            found[CHANGED] += not np.array_equal(folder.matrix(part.module), part.exact)
            weights += 1
    yield Result("weights", weights, None)
    yield Result(
        "weights unlike the exact ones", found[CHANGED], None if "account" in manifest else 0
    )
    yield Result("folders without packed weights", int(weights == 0))
    yield from (Result(what, found[what]) for what in COUNTED)


def _weight(folder: Folder, part: Part) -> list[int]:
    """Counts as they are listed above."""
    state = state_of(folder, part.module)
    config = folder.quantization
    ours = torch.from_numpy(folder.matrix(part.module))
    again = _packed(state, config, ours.float())
    exact = _packed(state, config, torch.from_numpy(part.exact))
    return [
        _unlike(again.qweight, state["qweight"]),
        _unlike(exact.qweight, state["qweight"]),
        _unlike(again.qzeros, state["qzeros"]),
        _unlike(again.g_idx, state["g_idx"]),
        _unlike(decoded(state, config), ours.T.float()),
    ]


def _linear(config: dict[str, Any], inputs: int, outputs: int) -> TorchLinear:
    kept = {key: config[key] for key in ("bits", "group_size", "sym", "desc_act")}
    return TorchLinear(**kept, in_features=inputs, out_features=outputs, bias=False).eval()


def _packed(
    state: dict[str, torch.Tensor], config: dict[str, Any], values: torch.Tensor
) -> TorchLinear:
    """Return its packing of a weight with our scales."""
    scales = state["scales"].float().T.contiguous()
    zeros = torch.full_like(scales, 1 << (config["bits"] - 1))
    inputs = values.shape[1]
    group = inputs if config["group_size"] == -1 else config["group_size"]
    index = torch.arange(inputs, dtype=torch.int32) // group
    return packed_linear(config, values, scales, zeros, index)


def packed_linear(
    config: dict[str, Any],
    values: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    index: torch.Tensor,
) -> TorchLinear:
    """Return its packing of a weight `[out, in]`, as it would be saved.

    Args:
        config: Bits, group and symmetry.
        values: The weight.
        scales: Steps `f32[out, group]`.
        zeros: Zero points, likewise.
        index: Group of each input.
    """
    outputs, inputs = values.shape
    plain = torch.nn.Linear(inputs, outputs, bias=False)
    plain.weight.data = values
    made = _linear(config, inputs, outputs)
    made.pack_original(plain, scales, zeros, index)
    saved = SimpleNamespace(bits=config["bits"], pack_dtype=torch.int32)
    convert_gptq_v2_to_v1_format_module(made, saved)
    return made


def decoded(state: dict[str, torch.Tensor], config: dict[str, Any]) -> torch.Tensor:
    """Its decoding of our arrays, `f32[in, out]`, with scales that are not rounded."""
    made = _linear(config, len(state["g_idx"]), state["scales"].shape[1])
    for name, array in state.items():
        setattr(made, name, array.float() if name == "scales" else array.clone())
    convert_gptq_v1_to_v2_format_module(made, config["bits"], torch.int32)
    return made.dequantize_weight()


def _unlike(one: torch.Tensor, other: torch.Tensor) -> int:
    if one.shape != other.shape:
        return max(one.numel(), other.numel())
    return int((one != other).sum())
