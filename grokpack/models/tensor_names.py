"""Names of tensors in safetensors folders: conventions as tables, and their parsing.

All of them store matrices as `[out, in]` and one matrix per expert.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from grokpack.models.architecture import GLOBAL_PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grokpack.models.architecture import ModelTensor, NetworkPart


@dataclass(frozen=True, slots=True)
class ModelClasses:
    """Names of the model in config.json: in `architectures`, `auto_map`, `model_type`.

    Attributes:
        model: Class of the model.
        model_type: `model_type`.
        config: Class of its config in the modelling code; empty if none is written.
        tied: True if the head is left out when it is a copy of the embedding.
    """

    model: str
    model_type: str
    config: str = ""
    tied: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Convention:
    """One way to name tensors.

    Attributes:
        name: Its name for `--names`.
        layer: Pattern of a layer's tensors: `{layer}` and `{rest}`.
        table: Name by part; `{expert}` where each expert has a tensor.
        classes: Names of the model in config.json.
        head: Name of the output head where it is a copy of the embedding.
        fused: Names in quantization configs of the modules that vLLM puts together, by the part
            whose name they stand for.
        renamed: Names of vLLM's modules by the word of a tensor's name that they replace.
    """

    name: str
    layer: str
    table: Mapping[NetworkPart, str]
    classes: ModelClasses
    head: str = "lm_head.weight"
    fused: Mapping[NetworkPart, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    def of(self, entry: ModelTensor, expert: int | None = None) -> str:
        """Name a tensor, or one expert of it."""
        rest = self.table[entry.rule.part]
        if expert is not None:
            rest = rest.format(expert=expert)
        return rest if entry.layer is None else self.layer.format(layer=entry.layer, rest=rest)

    def full(self, part: NetworkPart, layer: int | str) -> str:
        """Name a part, `{expert}` left as it is, below its layer where it has one."""
        rest = self.table[part]
        return (
            rest
            if part in GLOBAL_PARTS
            else self.layer.replace("{layer}", str(layer)).replace("{rest}", rest)
        )


@dataclass(frozen=True, slots=True)
class ParsedName:
    """The meaning of a name: a part, its layer and its expert."""

    part: NetworkPart
    layer: int | None
    expert: int | None


_NUMBER = re.compile(r"(?<![^.])(?:0|[1-9]\d{0,5})(?![^.])")
_FIELD = re.compile(r"\{(layer|expert)\}")


@lru_cache(maxsize=1 << 14)  # every step of a reader parses the names again; Grok-2 has 13,059
def parse(convention: Convention, name: str) -> ParsedName | None:
    """Find the tensor that a name means; None for a name that the convention lacks."""
    part, *keys = _forms(convention).get(_NUMBER.sub("N", name), (None,))
    numbers = _NUMBER.findall(name)
    if part is None or len(numbers) != len(keys):
        return None
    found = dict(zip(keys, map(int, numbers), strict=True))
    return ParsedName(part, found.get("layer"), found.get("expert"))


def rank_axis(convention: Convention, name: str) -> int | None:
    """Find the axis of a matrix `[out, in]` that SGLang's ranks share; None for what all hold."""
    parsed = parse(convention, name)
    if parsed is None or parsed.expert is None:
        return None
    return -1 if parsed.part == "expert_down" else -2


def pattern_of(convention: Convention, part: NetworkPart, layers: list[int] | None) -> str:
    """Make a pattern of the modules of one kind of weight, for quantization configs.

    With names that vLLM reads, it matches the fused and renamed modules that vLLM asks for as well.

    Args:
        convention: The names.
        part: The kind of weight.
        layers: The layers to match; None for all.
    """
    which = r"\d+" if layers is None else f"({'|'.join(map(str, layers))})"
    rest = re.escape(convention.table[part].removesuffix(".weight")).replace(r"\{expert\}", r"\d+")
    if part in convention.fused:
        stem, _, leaf = rest.rpartition(r"\.")
        rest = rf"{stem}\.({leaf}|{convention.fused[part]})"
    for word, theirs in convention.renamed.items():
        rest = rest.replace(word, f"({word}|{theirs})")
    return "re:" + re.escape(convention.layer.partition("{")[0]) + which + r"\." + rest + "$"


def vllm_modules(convention: Convention, parts: Iterable[NetworkPart]) -> list[str]:
    """Name the modules of vLLM that hold these parts, below their layer, alone and fused."""
    found: dict[str, None] = {}
    for part in parts:
        stem, _, leaf = convention.table[part].removesuffix(".weight").rpartition(".")
        for word, theirs in convention.renamed.items():
            stem = stem.replace(word, theirs)
        stem = stem.removesuffix(".{expert}")
        leaves = (leaf, convention.fused[part]) if part in convention.fused else (leaf,)
        found |= dict.fromkeys([stem] if "experts" in stem else [f"{stem}.{n}" for n in leaves])
    return list(found)


def experts_pattern(convention: Convention, layers: list[int] | None) -> str:
    """Make a pattern of the modules in which vLLM holds the experts of a layer together.

    Args:
        convention: The names that vLLM reads.
        layers: The layers to match; None for all.
    """
    return pattern_of(convention, "router", layers).replace(r"\.gate$", r"\.experts$")


@lru_cache(maxsize=64)
def _forms(convention: Convention) -> dict[str, tuple[NetworkPart, *tuple[str, ...]]]:
    """Return each part by its name with `N` for numbers, and what the numbers are, in order."""
    names = {part: convention.full(part, "{layer}") for part in convention.table}
    return {_FIELD.sub("N", name): (part, *_FIELD.findall(name)) for part, name in names.items()}


def is_buffer(name: str) -> bool:
    """Return whether a name is that of a buffer that older modelling code saved."""
    return name.endswith(("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached"))


def forms(names: Iterable[str]) -> Counter[str]:
    """Count names by their forms, with `N` for numbers: there are few, however many the names."""
    return Counter(_NUMBER.sub("N", name) for name in names)


def explained(convention: Convention, found: Mapping[str, int]) -> int:
    """Count the names that a convention explains, that of a copied head among them.

    Args:
        convention: The convention.
        found: Number of names of each form, as `forms` counts them.
    """
    known = {*_forms(convention), convention.head}
    return sum(count for form, count in found.items() if form in known)


def nearest(convention: Convention, name: str) -> str | None:
    """Find a name of the convention like this one: `model.layers.N.attn.q_proj.weight`."""
    numbers = r"(?<=\.)\d+(?=\.)"
    shape = re.sub(numbers, "N", name)
    known = [convention.full(part, "N").replace("{expert}", "N") for part in convention.table]
    found = difflib.get_close_matches(shape, known, 1)
    return found[0] if found else None
