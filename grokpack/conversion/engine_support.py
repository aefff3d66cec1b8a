"""Table of the quantized formats that each engine loads, and why others do not.

Sources: code of vLLM 0.24, SGLang 0.5.23, llama.cpp and compressed-tensors 0.20, read or run; the
model's activation is GELU, which most of their kernels for quantized experts refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError, UnusableValue
from grokpack.models.architecture import ALIKE

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.models.architecture import ModelTensor, NetworkPart
    from grokpack.models.family import Family
    from grokpack.transforms.quantization_scheme import QuantizationScheme

    Check = Callable[[QuantizationScheme], str | None]

_MARLIN_GROUPS = (None, 32, 64, 128)


def _anything(_: QuantizationScheme) -> str | None:
    return None


def _transformers(scheme: QuantizationScheme) -> str | None:
    if not scheme.symmetric:
        return "compressed-tensors 0.20 makes no room for zero points and stops"
    return None


def _vllm_compressed(scheme: QuantizationScheme) -> str | None:
    if not scheme.symmetric and scheme.bits == 8:  # noqa: PLR2004  # bits
        return "its kernels for experts take zero points of 4 bits only"
    if scheme.bits == 8 and scheme.group is not None:  # noqa: PLR2004  # bits
        return "it takes int8 experts with one scale per output only"
    return _marlin(scheme)


def _marlin(scheme: QuantizationScheme) -> str | None:
    if scheme.group not in _MARLIN_GROUPS:
        return f"its kernels have no groups of {scheme.group}"
    return None


LOADS: dict[str, dict[str, Check]] = {
    "llama.cpp": {"gguf": _anything},
    "vllm": {
        "compressed-tensors": _vllm_compressed,
        "gptq": _marlin,
        "mxfp4": _anything,
        "nvfp4": _anything,
        "fp8": _anything,
    },
    "sglang": {"w8a8-int8": _anything, "fp8": _anything},
    "transformers": {
        "compressed-tensors": _transformers,
        "mxfp4": _anything,
        "nvfp4": _anything,
    },
}
"""Formats that each engine loads, each with a check that returns why not; None if it does."""
_INSTEAD = {
    "llama.cpp": "--to gguf",
    "vllm": "--bits 4 --to compressed-tensors, or --bits 8 --to gptq (vLLM up to 0.24)",
    "sglang": "--bits 8 --to w8a8-int8, or --to fp8",
    "transformers": "--to compressed-tensors without --asymmetric; --method lsq is nearest to it",
}

_PREFERRED = {
    ("llama.cpp", 4): "gguf",
    ("llama.cpp", 8): "gguf",
    ("vllm", 8): "gptq",
    ("sglang", 8): "w8a8-int8",
    ("transformers", 8): "compressed-tensors",
}


def preferred(engine: str | None, bits: int) -> str | None:
    """Return the format that suits an engine best, if it is not the usual one."""
    return _PREFERRED.get((engine or "", bits))


def refuse_engine(engine: str | None, target: str, policy: Policy, source: Checkpoint) -> None:
    """Refuse a format that the engine does not load.

    Raises:
        GrokpackError: GP346 for an engine that is not known, GP313 where it does not load it.
    """
    if engine is None:
        return
    if engine not in LOADS:
        raise UnusableValue.choice("--for", engine, LOADS)
    check, family = LOADS[engine].get(target), source.model.family
    if engine == "transformers" and not family.code:
        raise _refused(engine, target, f"it has no code for {family.title}", "--for vllm")
    if check is None:
        raise _refused(engine, target, "it does not read this format for a model with GELU experts")
    for scheme in {r for _, r in policy.schemes(source.model) if r is not None}:
        reason = check(scheme)
        if reason is not None:
            raise _refused(engine, target, reason)
    if engine == "vllm" or target == "fp8":
        _refuse_unlike(engine, target, family, policy.schemes(source.model))


def _refuse_unlike(
    engine: str,
    target: str,
    family: Family,
    chosen: list[tuple[ModelTensor, QuantizationScheme | None]],
) -> None:
    """Refuse to quantize weights differently that the engine fuses."""
    forms: dict[tuple[int | None, tuple[NetworkPart, ...]], set[Any]] = {}
    for entry, scheme in chosen:
        for parts in ALIKE:
            if entry.rule.part in parts:
                form = scheme and (scheme.bits, scheme.group, scheme.symmetric)
                forms.setdefault((entry.layer, parts), set()).add(form)
    for (layer, fused), found in forms.items():
        if len(found) > 1:
            named = ", ".join(family.rule(part).path.removesuffix("/w") for part in fused)
            reason = f"it puts {named} together, and those of layer {layer} are not alike"
            raise _refused(engine, target, reason, "give them the same --policy or --keep")


def _refused(engine: str, target: str, reason: str, hint: str | None = None) -> GrokpackError:
    what = f"{engine} does not load this: {reason}"
    return GrokpackError("GP313", what, None, (("target", target),), hint or _INSTEAD[engine])
