"""Folders that GPTQModel packs, GPTQ with inputs in any order and AWQ, as grokpack reads them.

grokpack's own part is `convert --to hf --dtype f32`, before and after: it gives the weights that
are packed, and what it reads of the packed ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear
from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
from safetensors.torch import load_file, save_file

from tests.oracle.ct.gptq import decoded, packed_linear
from tests.oracle.ct.results import Result

if TYPE_CHECKING:
    from tests.oracle.grokpack_process import Grokpack

State = dict[str, torch.Tensor]
GROUP = 32
SHARED = {"bits": 4, "group_size": GROUP, "sym": False}


@dataclass(frozen=True)
class Form:
    """A packing of GPTQModel's.

    Attributes:
        settings: `quantization_config`.
        pack: Its arrays of a matrix `f32[out, in]`, and the values that it decodes of them.
    """

    settings: dict[str, Any]
    pack: Callable[[torch.Tensor], tuple[State, torch.Tensor]]


def _steps(matrix: torch.Tensor, order: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scales and zero points `f32[out, group]` of inputs in this order."""
    groups = matrix[:, order].unflatten(1, (-1, GROUP))
    least, most = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scales = ((most - least) / 15).half().float().clamp(min=2.0**-14)
    return scales, (-least / scales).round().clamp(0, 15)


def _gptq(matrix: torch.Tensor) -> tuple[State, torch.Tensor]:
    order = torch.randperm(matrix.shape[1])
    scales, zeros = _steps(matrix, order)
    index = torch.empty(len(order), dtype=torch.int32)
    index[order] = torch.arange(len(order), dtype=torch.int32) // GROUP
    made = packed_linear(GPTQ.settings, matrix, scales, zeros, index)
    names = ("qweight", "qzeros", "scales", "g_idx")
    state = {name: getattr(made, name).contiguous() for name in names}
    return state, decoded(state, GPTQ.settings).T


def _awq(matrix: torch.Tensor) -> tuple[State, torch.Tensor]:
    outputs, inputs = matrix.shape
    scales, zeros = _steps(matrix, torch.arange(inputs))
    plain = torch.nn.Linear(inputs, outputs, bias=False)
    plain.weight.data = matrix
    made = AwqTorchLinear(**SHARED, desc_act=False, in_features=inputs, out_features=outputs)
    made.pack(plain, scales, zeros)
    state = {name: getattr(made, name).contiguous() for name in ("qweight", "qzeros", "scales")}
    words = {name: array.float() if name == "scales" else array for name, array in state.items()}
    return state, dequantize_gemm(**words, bits=SHARED["bits"], group_size=GROUP).T


GPTQ = Form(
    {"quant_method": "gptq", **SHARED, "desc_act": True, "checkpoint_format": "gptq"}, _gptq
)
AWQ = Form(
    {"quant_method": "awq", **SHARED, "zero_point": True, "version": "gemm", "desc_act": False},
    _awq,
)
FORMS = {"GPTQ with inputs in any order": GPTQ, "AWQ": AWQ}


def check_published(form: Form, plain: Path, work: Path, grokpack: Grokpack) -> Iterator[Result]:
    """Pack every matrix of attention and experts, and compare what grokpack reads of it.

    Args:
        form: How.
        plain: A folder in float32 of one file.
        work: Where what is made is kept.
        grokpack: Runs grokpack.
    """
    made, again = work / "packed", work / "read"
    made.mkdir(parents=True)
    (path,) = plain.glob("*.safetensors")
    arrays, wanted = load_file(path), {}
    for name in [n for n in arrays if _quantized(n)]:
        base = name.removesuffix(".weight")
        state, wanted[name] = form.pack(arrays.pop(name))
        arrays |= {f"{base}.{part}": array for part, array in state.items()}
    save_file(arrays, made / path.name, {"format": "pt"})
    config = json.loads((plain / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(config | {"quantization_config": form.settings})
    (made / "config.json").write_text(text, encoding="utf-8")
    grokpack("convert", made, "--to", "hf", "--dtype", "f32", "--names", "sglang", "-o", again)
    (path,) = again.glob("*.safetensors")
    read = load_file(path)
    yield Result("weights", len(wanted), None)
    yield Result("folders without packed weights", int(not wanted))
    yield Result("weights read otherwise", sum(not read[n].equal(wanted[n]) for n in wanted))


def _quantized(name: str) -> bool:
    return "proj.weight" in name or ".experts." in name
