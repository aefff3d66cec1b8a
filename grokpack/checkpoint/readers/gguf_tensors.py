"""Tensors of a GGUF model: the array that holds each, or one array for each expert.

llama.cpp has merged the experts of a layer since April 2024; older files have a tensor for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.finding import Finding
from grokpack.formats.gguf import TensorInfo
from grokpack.transforms.copies import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from grokpack.models.architecture import ModelTensor
    from grokpack.transforms.protocols import LazyArray

_MERGED = "_exps.weight"


@dataclass(frozen=True, slots=True)
class HeldTensor:
    """Arrays that hold a tensor of the model.

    Attributes:
        info: Type and shape of the whole tensor.
        names: The array that holds it, or one array for each expert.
        apart: True if each expert has an array of its own.
    """

    info: TensorInfo
    names: tuple[str, ...]
    apart: bool = False

    def view(self, make: Callable[[str], LazyArray]) -> LazyArray:
        """Combine the lazy arrays made for each array into that of the whole tensor."""
        views = tuple(make(name) for name in self.names)
        return Stack(views) if self.apart else views[0]


def take(
    infos: Mapping[str, TensorInfo], wanted: Iterable[ModelTensor], head: str, experts: int
) -> tuple[dict[ModelTensor, HeldTensor], list[Finding]]:
    """Return the tensors of the model, and findings for missing and surplus ones.

    Args:
        infos: Every tensor of the files.
        wanted: Tensors of the model.
        head: Name of the output head where it is a copy of the embedding.
        experts: Number of experts by the keys; 0 if they do not give it.
    """
    held: dict[ModelTensor, HeldTensor] = {}
    findings: list[Finding] = []
    used = {head}
    for entry in wanted:
        stored = _stored_names(entry, infos, min(experts, len(infos)))
        used |= set(stored)
        missing = [name for name in stored if name not in infos]
        kinds = {infos[name] for name in stored if name in infos}
        findings += [Finding("GP101", "tensor is missing", None, name) for name in missing]
        if len(kinds) > 1:
            what = "experts differ in type or shape"
            findings.append(Finding("GP106", what, None, stored[0]))
        elif not missing:
            held[entry] = _held(entry, stored, infos[stored[0]])
    what = "no tensor of this model has that name"
    findings += [Finding("GP102", what, None, name) for name in infos if name not in used]
    return held, findings


def _held(entry: ModelTensor, stored: tuple[str, ...], own: TensorInfo) -> HeldTensor:
    if stored == (entry.gguf,):
        return HeldTensor(own, stored)
    return HeldTensor(TensorInfo(own.type, (len(stored), *own.shape)), stored, apart=True)


def _stored_names(
    entry: ModelTensor, infos: Mapping[str, TensorInfo], experts: int
) -> tuple[str, ...]:
    """Return the arrays that hold a tensor: its own, or those of its experts if they exist."""
    if not entry.rule.stacked or entry.gguf in infos:
        return (entry.gguf,)
    own = [name for e in range(max(experts, 1)) if (name := _expert(entry, e)) in infos]
    count = max(experts, len(own))
    while own and _expert(entry, count) in infos:
        count += 1
    return tuple(_expert(entry, e) for e in range(count)) if own else (entry.gguf,)


def _expert(entry: ModelTensor, expert: int) -> str:
    """Return the name of one expert's tensor: `blk.0.ffn_gate.3.weight`."""
    return entry.gguf.replace(_MERGED, f".{expert}.weight")
