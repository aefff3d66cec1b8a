"""Floats of eight and four bits in vLLM 0.24: its configuration, its schemes and its loader.

python -m tests.oracle.vllm.floats --python PYTHON_OF_GROKPACK --work FOLDER

Its build for CPU has no kernels for them, so that nothing is computed: the parameters that it has
loaded are decoded and compared with what tests/support/packed_formula.py decodes of the same
files. It is asked all that it asks before it chooses a kernel, but for whether there is a GPU.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from tests.oracle.ct.folders import Folder
from tests.oracle.grokpack_process import grokpack_at
from tests.oracle.vllm.running import Array, verdict
from tests.support import packed_formula

if TYPE_CHECKING:
    import torch

# vLLM takes the size of a head to be the width divided by the heads; blocks have 128 outputs.
SHAPE = (
    "--layers 2 --d-model 512 --ffn 256 --experts 2 --vocab 512 --heads 4 --kv-heads 2"
    " --head-dim 128"
)
SOURCES = {"grok-1": SHAPE, "grok-2": f"--model grok-2 {SHAPE} --mlp 256"}
HPCAI = "--names hpcai"
CASES = [
    *(
        ("grok-1", f"--to fp8 {HPCAI}{form}{kept}")
        for form in ("", " --group channel")
        for kept in ("", " --keep attention")
    ),
    *(("grok-2", f"--to fp8{form}") for form in ("", " --group channel")),
    *(
        (source, f"--to {to}{kept}")
        for source in SOURCES
        for to in ("nvfp4", "mxfp4")
        for kept in ("", " --keep attention")
    ),
]
SWAPPED = [f"model.layers.1.moe_block.experts.1.{n}.weight_scale" for n in ("linear", "linear_v")]
_LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
_PARTS = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "w13": ("w1", "w3"),
}
"""What vLLM puts together, in its order."""
_HPCAI = {"w1": "linear", "w2": "linear_1", "w3": "linear_v"}


@dataclass(frozen=True)
class Quantized:
    """A folder, whose matrices are found by layer and the end of their names."""

    folder: Folder

    @cached_property
    def modules(self) -> set[str]:
        return {name.rpartition(".")[0] for name in self.folder.arrays}

    def matrix(self, layer: str, ending: str) -> Array:
        """A matrix as the files have it, decoded, `f64[out, in]`."""
        last = _HPCAI.get(ending, ending) if self.folder.names == "hpcai" else ending
        own = [m for m in self.modules if f".layers.{layer}." in m and m.endswith(f".{last}")]
        if ending in _HPCAI:
            experts = sorted(own, key=lambda name: int(name.split(".")[-2]))
            return np.stack([self.folder.matrix(name) for name in experts])
        (name,) = own
        return self.folder.matrix(name)

    def joined(self, layer: str, module: str) -> Array:
        """What vLLM makes of them: one under another."""
        return np.concatenate(
            [self.matrix(layer, part) for part in _PARTS.get(module, (module,))], axis=-2
        )


def prepare() -> None:
    """Let vLLM choose as on a GPU, and leave parameters as it has loaded them."""
    from vllm.model_executor.layers.fused_moe.experts.marlin_moe import MarlinExperts
    from vllm.model_executor.layers.fused_moe.experts.triton_moe import TritonExperts
    from vllm.model_executor.layers.fused_moe.oracle import fp8 as choice
    from vllm.model_executor.layers.quantization import fp8
    from vllm.model_executor.layers.quantization.compressed_tensors import schemes
    from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors import (
        CompressedTensorsConfig,
    )
    from vllm.model_executor.model_loader import base_loader

    backend = choice.Fp8MoeBackend
    chosen = [backend.TRITON, backend.VLLM_CUTLASS, backend.BATCHED_VLLM_CUTLASS]
    choice._get_priority_backends = lambda *_: list(chosen)
    for experts in (MarlinExperts, TritonExperts):
        experts._supports_current_device = staticmethod(lambda: True)
    CompressedTensorsConfig._check_scheme_supported = staticmethod(
        lambda *_, match_exact=False, **_more: not match_exact
    )
    for name, module in (
        ("init_fp8_linear_kernel", fp8),
        ("init_fp8_linear_kernel", schemes.compressed_tensors_w8a8_fp8),
        ("init_nvfp4_linear_kernel", schemes.compressed_tensors_w4a4_nvfp4),
        ("init_mxfp4_linear_kernel", schemes.compressed_tensors_w4a4_mxfp4),
        ("expose_input_quant_key", schemes.compressed_tensors_w4a4_nvfp4),
    ):
        setattr(module, name, mock.Mock())
    base_loader.process_weights_after_loading = lambda *_: None


def load(folder: Path) -> Any:
    """The model as vLLM's loader leaves it."""
    from vllm.config import set_current_vllm_config
    from vllm.distributed import (
        cleanup_dist_env_and_memory,
        ensure_model_parallel_initialized,
        init_distributed_environment,
    )
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader import get_model

    config = EngineArgs(
        model=str(folder),
        skip_tokenizer_init=True,
        trust_remote_code=True,
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=128,
    ).create_engine_config()
    with set_current_vllm_config(config), tempfile.NamedTemporaryFile() as met:
        init_distributed_environment(1, 0, f"file://{met.name}.met", 0, "gloo")
        ensure_model_parallel_initialized(1, 1)
        model = get_model(vllm_config=config)
    cleanup_dist_env_and_memory()
    return model


def decoded(own: dict[str, torch.Tensor], stem: str) -> Array:
    """A loaded parameter times its scales; as it is where it has none."""
    import torch

    if f"{stem}_packed" in own:
        codes = own[f"{stem}_packed"].numpy()
        bits = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)
        values = _LEVELS[bits & 7] * np.where(bits & 8, np.float32(-1), np.float32(1))
        scales = own[f"{stem}_scale"]
        if scales.dtype is torch.uint8:
            steps = np.exp2(scales.numpy().astype(np.float32) - 127)
        else:
            steps = scales.float().numpy() / _global_scale(own[f"{stem}_global_scale"].numpy())
        return values * steps.repeat(values.shape[-1] // steps.shape[-1], axis=-1)
    values = own[stem].float().numpy()
    if f"{stem}_scale_inv" in own:
        each = own[f"{stem}_scale_inv"].numpy().repeat(128, axis=-2).repeat(128, axis=-1)
        return values * each[..., : values.shape[-2], : values.shape[-1]]
    return values * own[f"{stem}_scale"].numpy() if f"{stem}_scale" in own else values


def _global_scale(scales: Array) -> Array | np.float32:
    """That of a matrix, or `[expert, 1, 1]`; vLLM takes one for all parts that it put together."""
    if scales.ndim == 2:  # gate and up of each expert
        return scales[:, 0, None, None]
    return scales[:, None, None] if len(set(scales.tolist())) > 1 else scales.max()


def spoilt(folder: Path, out: Path) -> Path:
    """A copy in which gate and up of an expert have one another's scales."""
    shutil.copytree(folder, out)
    (path,) = out.glob("*.safetensors")
    arrays = packed_formula.load(path)
    one, other = SWAPPED
    arrays[one], arrays[other] = arrays[other], arrays[one]
    packed_formula.save(path, arrays)
    return out


def noticed(folder: Path, right: Path, source: Path) -> Iterator[str]:
    """`wrong`, or what vLLM says instead of loading."""
    try:
        yield from wrong(folder, right, source)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what vLLM says
        yield f"{type(error).__name__}: {error}"[:300]


def wrong(folder: Path, right: Path, source: Path) -> Iterator[str]:
    """Matrices that vLLM has loaded otherwise than the files of the right folder have them."""
    quantized, seen = Quantized(Folder(right, source)), 0
    for name, module in load(folder).named_modules():
        found = re.search(r"layers\.(\d+)\.(.*)", name)
        if found is None:
            continue
        own = {key: p.data for key, p in module.named_parameters(recurse=False)}
        for stem in {key.removesuffix("_packed") for key in own}:
            last = found[2].rpartition(".")[2] if stem == "weight" else stem.removesuffix("_weight")
            if last not in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj", "w13", "w2"):
                continue
            seen += 1
            wanted = quantized.joined(found[1], last)
            if not np.allclose(decoded(own, stem), wanted, rtol=1e-6, atol=0):
                yield f"{name}.{stem}"
    if not seen:
        yield "no matrix at all"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="a Python that has grokpack")
    parser.add_argument("--work", type=Path, required=True, help="a folder to empty and use")
    args = parser.parse_args()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    sources = {name: args.work / name for name in SOURCES}
    grokpack = grokpack_at(args.python)
    for name, source in sources.items():
        grokpack("synth", source, *SOURCES[name].split())
    outs = [args.work / f"folder-{number}" for number in range(len(CASES))]
    for (name, options), out in zip(CASES, outs, strict=True):
        grokpack("quantize", sources[name], *options.split(), "-o", out)
    prepare()
    every = True
    for (name, options), out in zip(CASES, outs, strict=True):
        bad = list(noticed(out, out, sources[name]))
        every = every and not bad
        said = f"{bad[0]} and {len(bad) - 1} more" if bad else "every matrix"
        print(f"  {verdict(not bad)} {name} {options}: {said}", flush=True)
    whole = outs[CASES.index(("grok-1", "--to nvfp4"))]
    bad = list(noticed(spoilt(whole, args.work / "spoilt"), whole, sources["grok-1"]))
    print(f"  {verdict(len(bad) == 1)} scales of gate and up swapped: {len(bad)} noticed")
    return 0 if every and len(bad) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
