"""What engines call Grok-1's tensors: three conventions for safetensors, one for GGUF.

Sources: xAI's parameter names; keyfan/grok-1-hf follows Aqwu's convert_hf.py; hpcai-tech/grok-1
has its own modelling file, whose names vLLM reads as well; SGLang's models/grok.py. All of them
store matrices as `[out, in]` and one matrix per expert.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.models import grok1

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grokpack.models.architecture import ModelTensor


@dataclass(frozen=True, slots=True)
class Convention:
    """One way to name tensors.

    Attributes:
        name: How `--names` calls it.
        layer: Pattern of a layer's tensors: `{layer}` and `{rest}`.
        table: Engine's name by xAI's path; `{expert}` where each expert has a tensor.
        head: Name of the output head, where it is stored apart.
    """

    name: str
    layer: str
    table: Mapping[str, str]
    head: str

    def of(self, entry: ModelTensor, expert: int | None = None) -> str:
        """The engine's name of a tensor, or of one expert of it."""
        rest = self.table[entry.rule.path]
        if expert is not None:
            rest = rest.format(expert=expert)
        return rest if entry.layer is None else self.layer.format(layer=entry.layer, rest=rest)


def _keyfan(path: str) -> str:
    module, _, leaf = path.replace("moe/", "moe/{expert}/").rpartition("/")
    if path == "router/w":
        module = "router"
    del leaf
    return module.replace("language_model", "transformer").replace("/", ".") + ".weight"


KEYFAN = Convention(
    "keyfan",
    "transformer.decoder_layer.{layer}.{rest}",
    {rule.path: _keyfan(rule.path) for rule in (*grok1.GLOBAL_RULES, *grok1.LAYER_RULES)},
    "lm_head.weight",
)
HPCAI = Convention(
    "hpcai",
    "model.layers.{layer}.{rest}",
    {
        "language_model/in_out_embed/embeddings": "model.embed_tokens.weight",
        "language_model/rms_norm/scale": "model.norm.scale",
        "moe/linear/w": "moe_block.experts.{expert}.linear.weight",
        "moe/linear_1/w": "moe_block.experts.{expert}.linear_1.weight",
        "moe/linear_v/w": "moe_block.experts.{expert}.linear_v.weight",
        "multi_head_attention/key/w": "attn.k_proj.weight",
        "multi_head_attention/linear/w": "attn.o_proj.weight",
        "multi_head_attention/query/w": "attn.q_proj.weight",
        "multi_head_attention/value/w": "attn.v_proj.weight",
        "rms_norm/scale": "pre_attn_norm.scale",
        "rms_norm_1/scale": "post_attn_norm.scale",
        "rms_norm_2/scale": "pre_moe_norm.scale",
        "rms_norm_3/scale": "post_moe_norm.scale",
        "router/w": "moe_block.gate.weight",
    },
    "lm_head.weight",
)
SGLANG = Convention(
    "sglang",
    "model.layers.{layer}.{rest}",
    {
        "language_model/in_out_embed/embeddings": "model.embed_tokens.weight",
        "language_model/rms_norm/scale": "model.norm.weight",
        "moe/linear/w": "block_sparse_moe.experts.{expert}.w1.weight",
        "moe/linear_1/w": "block_sparse_moe.experts.{expert}.w2.weight",
        "moe/linear_v/w": "block_sparse_moe.experts.{expert}.w3.weight",
        "multi_head_attention/key/w": "self_attn.k_proj.weight",
        "multi_head_attention/linear/w": "self_attn.o_proj.weight",
        "multi_head_attention/query/w": "self_attn.q_proj.weight",
        "multi_head_attention/value/w": "self_attn.v_proj.weight",
        "rms_norm/scale": "pre_attn_norm.weight",
        "rms_norm_1/scale": "post_attn_norm.weight",
        "rms_norm_2/scale": "pre_moe_norm.weight",
        "rms_norm_3/scale": "post_moe_norm.weight",
        "router/w": "block_sparse_moe.gate.weight",
    },
    "lm_head.weight",
)
CONVENTIONS = {c.name: c for c in (HPCAI, SGLANG, KEYFAN)}

_FUSED = {
    "moe/linear/w": "gate_proj",
    "moe/linear_1/w": "down_proj",
    "moe/linear_v/w": "up_proj",
    "multi_head_attention/query/w": "qkv_proj",
}
"""Under what names vLLM looks in a quantization config for what it puts together."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a name means: a rule, its layer and its expert."""

    path: str
    layer: int | None
    expert: int | None


def parse(convention: Convention, name: str) -> Named | None:
    """The tensor that an engine's name means; None for a name that the convention lacks."""
    for path, pattern in _patterns(convention).items():
        match = pattern.fullmatch(name)
        if match:
            numbers = {key: int(text) for key, text in match.groupdict().items()}
            return Named(path, numbers.get("layer"), numbers.get("expert"))
    return None


def pattern_of(convention: Convention, path: str, layers: list[int] | None) -> str:
    """A pattern of the modules of one kind of weight, as quantization configs have them.

    With hpcai's names, which vLLM reads, it matches those that vLLM asks for as well.

    Args:
        convention: Whose names.
        path: xAI's path of the weight, below its layer.
        layers: The layers that are meant; None for all.
    """
    which = r"\d+" if layers is None else f"({'|'.join(map(str, layers))})"
    rest = re.escape(convention.table[path].removesuffix(".weight")).replace(r"\{expert\}", r"\d+")
    if convention is HPCAI and path in _FUSED:
        stem, _, leaf = rest.rpartition(r"\.")
        rest = rf"{stem}\.({leaf}|{_FUSED[path]})"
    return "re:" + re.escape(convention.layer.partition("{")[0]) + which + r"\." + rest + "$"


def experts_pattern(layers: list[int] | None) -> str:
    """A pattern of the modules in which vLLM holds the experts of a layer together.

    Args:
        layers: The layers that are meant; None for all.
    """
    return pattern_of(HPCAI, "router/w", layers).replace(r"\.gate$", r"\.experts$")


_CACHE: dict[str, dict[str, re.Pattern[str]]] = {}


def _patterns(convention: Convention) -> dict[str, re.Pattern[str]]:
    if convention.name not in _CACHE:
        _CACHE[convention.name] = {
            rule.path: _pattern(convention, rule.path, in_layer=rule in grok1.LAYER_RULES)
            for rule in (*grok1.GLOBAL_RULES, *grok1.LAYER_RULES)
        }
    return _CACHE[convention.name]


def _pattern(convention: Convention, path: str, *, in_layer: bool) -> re.Pattern[str]:
    rest = convention.table[path]
    full = convention.layer.replace("{rest}", rest) if in_layer else rest
    text = re.escape(full)
    for key in ("layer", "expert"):
        text = text.replace(re.escape("{" + key + "}"), rf"(?P<{key}>0|[1-9]\d{{0,5}})")
    return re.compile(text)


def is_buffer(name: str) -> bool:
    """Whether a name is that of a buffer which older modelling code saved with its weights."""
    return name.endswith(("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached"))


def recognise(names: Iterable[str]) -> Convention | None:
    """The convention that explains the most of these names, and more than half; None for none."""
    listed = [name for name in names if not is_buffer(name)]
    votes = Counter(
        {
            name: sum(parse(convention, text) is not None for text in listed)
            for name, convention in CONVENTIONS.items()
        }
    )
    best, count = votes.most_common(1)[0]
    return CONVENTIONS[best] if 2 * count > len(listed) else None


def nearest(convention: Convention, name: str) -> str | None:
    """A name of the convention that looks like this one: `model.layers.N.attn.q_proj.weight`."""
    numbers = r"(?<=\.)\d+(?=\.)"
    shape = re.sub(numbers, "N", name)
    known = [
        convention.layer.format(layer="N", rest=rest) if rule in grok1.LAYER_RULES else rest
        for rule in (*grok1.GLOBAL_RULES, *grok1.LAYER_RULES)
        for rest in [convention.table[rule.path].replace("{expert}", "N")]
    ]
    found = difflib.get_close_matches(shape, known, 1)
    return found[0] if found else None
