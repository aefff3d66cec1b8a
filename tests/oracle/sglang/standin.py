"""What takes the place of SGLang's compiled kernels, of its devices, and of its processes.

`install` comes before anything of SGLang's is imported. Its own are config.json, the choice of the
model's class and of the quantization's methods, the parameters, the iteration over the files and
the loading of names into parameters, for each rank; and, with `compute`, the order of the model's
operations. Not its own is what happens to parameters after they are loaded, for kernels.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import math
import os
import sys
import types
from typing import Any

import numpy as np
import torch

_KERNELS = "sgl_kernel"
_OPERATORS = ("fused_moe_router_cpu", "rmsnorm_cpu", "fused_dual_residual_rmsnorm_cpu",
              "gelu_and_mul_cpu")  # fmt: skip


class _Absent(types.ModuleType):
    """A module that has every function, none of which can be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_args: object, **_named: object) -> None:
            message = f"{self.__name__}.{name} is not here"
            raise NotImplementedError(message)

        return absent


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `sgl_kernel`; not its table of types, without which SGLang has one of its own."""

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] == _KERNELS and not name.endswith(".scalar_type"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []


def install() -> None:
    """Let SGLang be imported on a machine without accelerator."""
    os.environ["SGLANG_USE_CPU_ENGINE"] = "1"
    sys.meta_path.insert(0, _Finder())
    library = torch.library.Library(_KERNELS, "FRAGMENT")
    for name in _OPERATORS:
        library.define(f"{name}(Tensor a) -> Tensor")
    _kept.append(library)


_kept: list[Any] = []  # operators are gone with their library


class _Group:
    """The other ranks, of whom nothing can be asked."""

    cpu_group = None

    def __init__(self, rank: int, ranks: int) -> None:
        self.rank_in_group, self.world_size = rank, ranks


def load(folder: str, ranks: int, rank: int, dtype: str = "auto") -> Any:
    """The model as SGLang's loader leaves it on one of the ranks."""
    from sglang.srt import runtime_context
    from sglang.srt.configs.device_config import DeviceConfig
    from sglang.srt.configs.load_config import LoadConfig
    from sglang.srt.configs.model_config import ModelConfig
    from sglang.srt.model_loader.loader import DefaultModelLoader
    from sglang.srt.server_args import ServerArgs

    arguments = ServerArgs(
        model_path=folder,
        device="cpu",
        tp_size=ranks,
        dtype=dtype,
        skip_tokenizer_init=True,
        trust_remote_code=True,
        attention_backend="torch_native",
        load_format="safetensors",
    )
    place = runtime_context.SpawnRanks(world_rank=rank)
    parallel = runtime_context.get_parallel()
    parallel.clear_stamp()  # of the rank before
    runtime_context.publish(arguments, role="test", ranks=place)
    parallel.override_permanently(tp_group=_Group(rank, ranks))
    DefaultModelLoader.postprocess_weights = staticmethod(lambda *_: None)
    _admit_float32()
    return DefaultModelLoader(LoadConfig()).load_model(
        model_config=ModelConfig.from_server_args(arguments),
        device_config=DeviceConfig("cpu"),
    )


def _admit_float32() -> None:
    """Let folders in FP8 be loaded where there is no GPU, and in float32."""
    from sglang.srt.layers.quantization.compressed_tensors.compressed_tensors import (
        CompressedTensorsConfig,
    )
    from sglang.srt.layers.quantization.fp8 import Fp8Config

    CompressedTensorsConfig._check_scheme_supported = lambda *_args, **_named: True
    for config in (CompressedTensorsConfig, Fp8Config):
        config.get_supported_act_dtypes = classmethod(lambda _: [torch.float32, torch.bfloat16])


def codes_and_scales(
    parameters: dict[str, torch.Tensor], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a parameter in FP8, and the scale of each; a block has 128 inputs and outputs."""
    codes = parameters[name].float().numpy()
    blocks = parameters.get(f"{name}_scale_inv")
    if blocks is None:
        return codes, np.broadcast_to(parameters[f"{name}_scale"].numpy(), codes.shape)
    each = blocks.numpy().repeat(128, axis=-2).repeat(128, axis=-1)
    return codes, each[..., : codes.shape[-2], : codes.shape[-1]]


def dequantize(model: Any) -> None:
    """Put products in float32 in the place of codes in FP8, as its kernels compute with."""
    from sglang.srt.layers.quantization.unquant import UnquantizedLinearMethod

    for module in model.modules():
        own = {name: p.data for name, p in module.named_parameters(recurse=False)}
        for name, parameter in own.items():
            if parameter.dtype is torch.float8_e4m3fn:
                codes, scales = codes_and_scales(own, name)
                product = torch.nn.Parameter(torch.from_numpy(codes * scales), requires_grad=False)
                setattr(module, name, product)
                if name == "weight":
                    module.quant_method = UnquantizedLinearMethod()


def compute(model: Any, ids: list[int]) -> torch.Tensor:
    """Logits `f32[T, vocab]` of a prompt, by the model's own forward at one rank."""
    from sglang.srt.models import grok

    config = model.config
    grok.fused_rmsnorm = _norm
    grok.fused_dual_residual_rmsnorm = _two_norms
    grok._is_cpu, grok.gelu_and_mul_triton = False, _bend  # the kernel that it has on a GPU
    for layer in model.model.layers:
        attention, experts = layer.self_attn, layer.block_sparse_moe
        _replace(attention.attn, _attend(attention.attn))
        _replace(experts.topk, lambda x, weight: _route(x, weight, config.num_experts_per_tok))
        _replace(experts.experts, _mix(experts.experts))
        _rotate(attention.rotary_emb)
    _replace(model.logits_processor, _head(model.logits_processor, config.vocab_size))
    tokens = torch.tensor(ids)
    logits: torch.Tensor = model(tokens, torch.arange(len(ids)), None)
    return logits


def _replace(module: Any, function: Any) -> None:
    module.forward = function


def _rotate(rotation: Any) -> None:
    """Rotate by PyTorch, with the float32 table that a GPU has; others have it in bfloat16."""
    _replace(rotation, rotation.forward_native)
    rotation.cos_sin_cache = rotation._compute_cos_sin_cache()


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def _two_norms(
    x: torch.Tensor, residual: torch.Tensor, first: torch.Tensor, second: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The stream after what is added to it, and its norm."""
    stream = residual + _norm(x, first, eps)
    return _norm(stream, second, eps), stream


def _bend(joined: torch.Tensor) -> tuple[torch.Tensor, None]:
    """GELU as SGLang's kernels have it, of the first half, times the second."""
    gate, up = joined.chunk(2, -1)
    return torch.nn.functional.gelu(gate) * up, None


def _head(processor: Any, vocab: int) -> Any:
    """Logits of the rows that are no padding, with the last cap that SGLang was told."""

    def forward(_ids: object, h: torch.Tensor, head: Any, _batch: object) -> torch.Tensor:
        logits = h @ head.weight[:vocab].T
        cap = processor.final_logit_softcapping
        return cap * torch.tanh(logits / cap) if cap else logits

    return forward


def _attend(layer: Any) -> Any:
    """Attention over the whole prompt, with the scale, cap and temperature that SGLang was told."""

    def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, _batch: object) -> torch.Tensor:
        count, size = len(q), layer.head_dim
        shared = layer.tp_q_head_num // layer.tp_k_head_num
        heads = [t.view(count, -1, size).transpose(0, 1) for t in (q, k, v)]
        keys, values = (t.repeat_interleave(shared, 0) for t in heads[1:])
        logits = heads[0] @ keys.transpose(1, 2) * layer.scaling
        logits = layer.logit_cap * torch.tanh(logits / layer.logit_cap)
        logits *= _warmth(count, layer.xai_temperature_len)[:, None]
        future = torch.ones(count, count, dtype=torch.bool).triu(1)
        weights = logits.masked_fill(future, -torch.inf).softmax(-1)
        return (weights @ values).transpose(0, 1).reshape(count, -1)

    return forward


def _warmth(count: int, length: int) -> torch.Tensor:
    """The temperature of each position; a length of -1 is none."""
    places = torch.arange(count)
    late = (places > length) & (length > 0)
    return torch.where(late, places.clamp(min=1).log2() / math.log2(max(length, 2)), 1.0)


def _route(x: torch.Tensor, weight: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """SGLang's router: logits are capped at 30 before the softmax, which xAI's code does not."""
    logits = 30 * torch.tanh(x.float() @ weight.float().T / 30)
    gates, chosen = logits.softmax(-1).topk(count)
    return gates, chosen


def _mix(layer: Any) -> Any:
    """Experts from the parameters as they were loaded: gate above up in one matrix."""

    def forward(x: torch.Tensor, routed: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        gates, chosen = routed
        out = torch.zeros_like(x)
        for expert in range(len(layer.w13_weight)):
            tokens, rank = torch.where(chosen == expert)
            inner, _ = _bend(x[tokens] @ layer.w13_weight[expert].T)
            made = inner @ layer.w2_weight[expert].T
            out[tokens] += gates[tokens, rank, None] * made
        return out

    return forward
