"""The constants of the network that no tensor shows, by each program's name for them."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.models.architecture import Geometry


@dataclass(frozen=True, slots=True)
class Constants:
    """What xAI's code computes with, beside the weights; defaults from its run.py and model.py.

    Attributes:
        embedding_multiplier: Of the embedding; the root of the model's width.
        output_multiplier: Of the logits.
        attn_output_multiplier: Of the attention logits, before their cap: the softmax scale.
        attn_logit_cap: `c` in `c * tanh(x / c)`.
        rms_norm_eps: Added to the mean square in every norm.
        rope_theta: Base of the rotary embedding.
        context: Tokens of a sequence.
        selected_experts: Experts that work on each token.
        pad: Token that attention masks; bos, eos likewise by their ids.
        bos: Beginning of a sequence; the reference adds none.
        eos: End of a sequence.
    """

    embedding_multiplier: float
    attn_output_multiplier: float
    output_multiplier: float = 0.5773502691896257
    attn_logit_cap: float = 30.0
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    context: int = 8192
    selected_experts: int = 2
    pad: int = 0
    bos: int = 1
    eos: int = 2


_LARGEST_WHOLE = (1 << 31) - 1
_LARGEST_REAL = 3.4028234e38  # of float32
_COUNTS = ("context", "selected_experts")
_TOKENS = ("pad", "bos", "eos")  # -1 is what some write where there is none
_LONGEST = 24  # digits of a number that a message shows
_KEYS = {  # ours: xAI's key, then Hugging Face's
    "embedding_multiplier": ("embedding_multiplier_scale",),
    "attn_output_multiplier": ("attn_output_multiplier",),
    "output_multiplier": ("output_multiplier_scale",),
    "attn_logit_cap": ("attn_logit_cap", "attn_logit_softcapping", "max_attn_value"),
    "rms_norm_eps": ("rms_norm_eps",),
    "rope_theta": ("rope_theta",),
    "context": ("sequence_len", "max_position_embeddings"),
    "selected_experts": ("num_selected_experts", "num_experts_per_tok"),
    "pad": ("pad_token", "pad_token_id"),
    "bos": ("bos_token", "bos_token_id"),
    "eos": ("eos_token", "eos_token_id"),
}


def defaults(geometry: Geometry) -> Constants:
    """The reference's constants for a model of these dimensions; its head size must be known."""
    head_dim = geometry.head_dim or 1
    return Constants(math.sqrt(geometry.d_model), 1 / math.sqrt(head_dim))


def read(config: Mapping[str, Any], geometry: Geometry) -> Constants:
    """The constants that a config gives, in xAI's keys or Hugging Face's; else the reference's."""
    found = {}
    for field in fields(Constants):
        for key in _KEYS[field.name]:
            number = _number(config, key, field.name)
            if number is not None:
                kind = int if field.type == "int" else float
                found[field.name] = kind(number)
                break
    return replace(defaults(geometry), **found)  # type: ignore[arg-type]


def stated(config: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Every number that a config gives for each constant, by our name and the config's key."""
    return {
        name: {key: number for key in keys if (number := _stated(config, key)) is not None}
        for name, keys in _KEYS.items()
    }


def impossible(config: Mapping[str, Any]) -> list[str]:
    """Constants of a config that no program can hold, as sentences."""
    wrong = []
    for field in fields(Constants):
        for key in _KEYS[field.name]:
            number = _stated(config, key)
            if number is not None and not _possible(number, field.name):
                wrong.append(f"{key} is {_short(number)} there, which no program can hold")
    return wrong


def _number(config: Mapping[str, Any], key: str, name: str) -> float | None:
    number = _stated(config, key)
    return number if number is not None and _possible(number, name) else None


def _stated(config: Mapping[str, Any], key: str) -> float | None:
    """A number of a config; None where it has none by that key, or a text, a list, null."""
    number = config.get(key)
    if key == "rope_theta" and number is None:
        nested = config.get("rope_parameters")  # where transformers 5 keeps it
        number = nested.get(key) if isinstance(nested, dict) else None
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    return number


def _possible(number: float, name: str) -> bool:
    """Whether a constant fits the 32 bits in which engines hold it; infinity and NaN do not."""
    if name in _COUNTS:
        return 1 <= number <= _LARGEST_WHOLE
    if name in _TOKENS:
        return -1 <= number <= _LARGEST_WHOLE
    return abs(number) <= _LARGEST_REAL


def _short(number: float) -> str:
    text = str(number)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def from_float32(config: Mapping[str, Any], geometry: Geometry) -> dict[str, Any]:
    """A config whose constants passed through float32, with the reference's digits again.

    A constant that float32 rounds to the same value as the reference's is the reference's.
    """
    usual, mended = defaults(geometry), dict(config)
    for field in fields(Constants):
        wanted = getattr(usual, field.name)
        for key in _KEYS[field.name]:
            found = config.get(key)
            if not isinstance(found, float) or not _possible(found, field.name):
                continue
            if _as_float32(found) == _as_float32(wanted):
                mended[key] = wanted
    return mended


def _as_float32(number: float) -> bytes:
    return struct.pack("<f", number)


def differences(constants: Constants, geometry: Geometry) -> list[str]:
    """Constants that are not the reference's, as `rope_theta 100000.0, not 10000.0`."""
    usual = defaults(geometry)
    pairs = [
        (f.name, getattr(constants, f.name), getattr(usual, f.name))
        for f in fields(Constants)
        if f.name not in ("context", *_TOKENS)
    ]
    return [
        f"{name} {found!r}, not {wanted!r}"
        for name, found, wanted in pairs
        if not math.isclose(found, wanted, rel_tol=1e-6)  # what a decimal in a config may lose
    ]


def xai(constants: Constants) -> dict[str, Any]:
    """The constants by xAI's keys."""
    return {_KEYS[f.name][0]: getattr(constants, f.name) for f in fields(Constants)}
