"""config.json: what shapes cannot tell about a model, in xAI's keys or Hugging Face's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError
from grokpack.models import hyperparameters
from grokpack.models.geometry_inference import Hints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.models.architecture import Geometry

FILE = "config.json"

_SAME = {  # our dimension: its names in xAI's run.py, then in Hugging Face configs
    "vocab": ("vocab_size",),
    "d_model": ("emb_size", "hidden_size"),
    "layers": ("num_layers", "num_hidden_layers"),
    "experts": ("num_experts", "num_local_experts"),
    "ffn": ("ffn_size", "moe_intermediate_size", "intermediate_size"),
    "head_dim": ("key_size", "head_dim"),
    "q_heads": ("num_q_heads", "num_attention_heads"),
    "kv_heads": ("num_kv_heads", "num_key_value_heads"),
    "scale_groups": ("scale_groups",),
}

_MOST_LAYERS = 1024  # more are not believed: a hostile number must not cost time; Grok-1 has 64
_LARGEST_SHOWN = 10**24
_CARRIED = ("widening_factor",)


def value(config: Mapping[str, Any], dimension: str) -> int | None:
    """A dimension by our name, whichever convention the config follows."""
    for key in _SAME[dimension]:
        number = config.get(key)
        if isinstance(number, int) and not isinstance(number, bool) and number > 0:
            return number
    return None


def hints(config: Mapping[str, Any], head_dim: int | None = None) -> Hints:
    """What the config adds to the shapes; an explicit `head_dim` wins."""
    layers = value(config, "layers")
    return Hints(
        head_dim=head_dim or value(config, "head_dim"),
        layers=layers if layers and layers <= _MOST_LAYERS else None,
        scale_groups=value(config, "scale_groups"),
    )


def contradictions(config: Mapping[str, Any], geometry: Geometry) -> list[str]:
    """What the config gives otherwise than the shapes do, or as nothing can have it: sentences."""
    wrong = hyperparameters.impossible(config)
    for dimension in ("vocab", "d_model", "layers", "experts", "ffn", "q_heads", "kv_heads"):
        said, seen = value(config, dimension), getattr(geometry, dimension)
        if said is not None and seen is not None and said != seen:
            wrong.append(f"{_SAME[dimension][0]} is {_short(said)} there, {seen} by the shapes")
    head_dim = geometry.head_dim
    if head_dim and (geometry.q_width % head_dim or geometry.kv_width % head_dim):
        wrong.append(
            f"head size {head_dim} does not divide the attention widths "
            f"{geometry.q_width} and {geometry.kv_width}"
        )
    return wrong


def _short(number: int) -> str:
    return str(number) if number < _LARGEST_SHOWN else "absurdly large"


def render(geometry: Geometry, source: Mapping[str, Any]) -> bytes:
    """A config.json in xAI's keys: dimensions by shape, constants from the source's config.

    Args:
        geometry: The model; its head size must be known.
        source: Config of the source, whose constants are carried over; may be empty.
    """
    if geometry.head_dim is None:
        raise unknown_head_size()
    config: dict[str, Any] = {
        "vocab_size": geometry.vocab,
        "emb_size": geometry.d_model,
        "num_layers": geometry.layers,
        "num_experts": geometry.experts,
        "ffn_size": geometry.ffn,
        "key_size": geometry.head_dim,
        "num_q_heads": geometry.q_heads,
        "num_kv_heads": geometry.kv_heads,
        **hyperparameters.xai(hyperparameters.read(source, geometry)),
    }
    config |= {key: source[key] for key in _CARRIED if key in source}
    if geometry.scale_groups is not None:
        config["scale_groups"] = geometry.scale_groups
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def unknown_head_size() -> GrokpackError:
    """The error for a model whose head size nothing tells."""
    what = "the size of an attention head is not known: shapes do not tell it"
    hint = "give `--head-dim N`, or put a config.json with `key_size` beside the checkpoint"
    return GrokpackError("GP211", what, hint=hint)
