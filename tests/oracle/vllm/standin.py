"""Stand-ins for the kernels that vLLM's build for CPU does not have.

Everything before the kernels stays vLLM's own: config.json, the schemes and methods that it
chooses, its parameters, and its loading of names into them. `use` makes it choose as on a GPU: the
experts' kernel is asked everything but whether a GPU is there. Then the loaded parameters are
decoded as Marlin reads them, and float32 matrices computed with.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.kernels import linear
from vllm.model_executor.kernels.linear.mixed_precision.MPLinearKernel import (
    MPLinearKernel,
    MPLinearLayerConfig,
)
from vllm.model_executor.layers.fused_moe import UnquantizedFusedMoEMethod
from vllm.model_executor.layers.fused_moe.experts.marlin_moe import MarlinExperts
from vllm.model_executor.layers.fused_moe.oracle import int_wna16
from vllm.model_executor.layers.quantization import auto_gptq
from vllm.model_executor.layers.quantization.compressed_tensors import compressed_tensors
from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors_moe import (
    compressed_tensors_moe_wna16_marlin as wna16,
)
from vllm.model_executor.layers.quantization.utils import marlin_utils
from vllm.model_executor.parameter import permute_param_layout_
from vllm.platforms import current_platform
from vllm.scalar_type import scalar_types

EIGHT_BITS = scalar_types.uint8b128


def fields(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes `[..., rows * 32 / bits, out]` of words `i32[..., rows, out]`, low bits first."""
    places = torch.arange(0, 32, bits, dtype=torch.int32)[:, None]
    return ((words.unsqueeze(-2) >> places) & ((1 << bits) - 1)).flatten(-3, -2)


def decode(
    words: torch.Tensor, scales: torch.Tensor, bits: int, zeros: torch.Tensor | None = None
) -> torch.Tensor:
    """Weights `[..., out, in]`.

    Args:
        words: `i32[..., in * bits / 32, out]`.
        scales: `[..., group, out]`.
        bits: Of a code.
        zeros: Zero points `i32[..., group, out * bits / 32]`; None where they are in the middle.
    """
    codes = fields(words, bits)
    per_group = codes.shape[-2] // scales.shape[-2]
    middle: Any = 1 << (bits - 1)
    if zeros is not None:
        packed = zeros.transpose(-1, -2).contiguous()
        middle = fields(packed, bits).transpose(-1, -2).repeat_interleave(per_group, dim=-2)
    values = (codes - middle) * scales.repeat_interleave(per_group, dim=-2)
    return values.transpose(-1, -2).contiguous()


class Decoded(MPLinearKernel):
    """Attention's matrices, of 4 or 8 bits."""

    @classmethod
    def get_min_capability(cls) -> int:
        return -1

    @classmethod
    def can_implement(cls, c: MPLinearLayerConfig) -> tuple[bool, str | None]:
        return not c.has_g_idx, "the stand-in takes inputs in their order only"

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        words, scales, zeros, _ = self._get_weight_params(layer)
        permute_param_layout_(words, input_dim=0, output_dim=1, packed_dim=0)
        permute_param_layout_(scales, input_dim=0, output_dim=1)
        points = None
        if self.config.zero_points:
            permute_param_layout_(zeros, input_dim=0, output_dim=1, packed_dim=1)
            points = zeros.data
        bits = self.config.weight_type.size_bits
        layer.decoded = decode(words.data, scales.data, bits, points)

    def apply_weights(
        self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return torch.nn.functional.linear(x, layer.decoded.to(x.dtype), bias)


def _experts(method: Any, layer: Any) -> None:
    """Decode a layer's experts and leave them to vLLM's own method for those not quantized."""
    plain = UnquantizedFusedMoEMethod(layer.moe_config)
    ours = isinstance(method, wna16.CompressedTensorsWNA16MarlinMoEMethod)
    bits = method.num_bits if ours else method.quant_config.quant_type.size_bits
    for part in ("w13", "w2"):
        words = getattr(layer, f"{part}_weight_packed" if ours else f"{part}_qweight")
        scales = getattr(layer, f"{part}_weight_scale" if ours else f"{part}_scales")
        zeros = getattr(layer, f"{part}_weight_zero_point", None)
        values = decode(words.data, scales.data, bits, None if zeros is None else zeros.data)
        layer.register_parameter(f"{part}_weight", torch.nn.Parameter(values, requires_grad=False))
    layer._replace_quant_method(plain)  # what vLLM itself does for other methods
    plain.process_weights_after_loading(layer)


def use() -> None:
    """Put the stand-ins in their places, for the rest of the process."""
    linear._POSSIBLE_KERNELS[current_platform._enum] = [Decoded]
    MarlinExperts._supports_current_device = staticmethod(lambda: True)
    int_wna16._get_priority_backends = lambda: [int_wna16.WNA16MoEBackend.MARLIN]
    types = marlin_utils.query_marlin_supported_quant_types
    marlin_utils.query_marlin_supported_quant_types = lambda *given, **named: [
        *types(*given, **named),
        EIGHT_BITS,
    ]
    for module in (wna16, auto_gptq):
        module.marlin_make_workspace_new = lambda *_: None
    for method in (wna16.CompressedTensorsWNA16MarlinMoEMethod, auto_gptq.AutoGPTQMoEMethod):
        method.process_weights_after_loading = _experts
    for config in (compressed_tensors.CompressedTensorsConfig, auto_gptq.AutoGPTQConfig):
        config.get_supported_act_dtypes = classmethod(lambda _: [torch.float32])
