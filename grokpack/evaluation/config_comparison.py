"""Comparison of the configs of two checkpoints, and of their tokenizers with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError
from grokpack.core.finding import Finding
from grokpack.evaluation import tokenizer_comparison
from grokpack.models import hyperparameters
from grokpack.models.hyperparameters import SCALED_ROTATION, switch

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.models.family import Family

_DIMENSIONS = (
    "vocab",
    "d_model",
    "layers",
    "experts",
    "ffn",
    "mlp",
    "q_width",
    "kv_width",
    "head_dim",
)
_OPTIONAL = ("context",)
"""Constants that many formats cannot hold; they are compared only if both checkpoints have them."""
_TOKENS = ("pad", "bos", "eos")
"""Constants that tokenizers have as well; they are compared with these."""
_SWITCHES: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "attn_factor": (),
    "beta_fast": (),
    "beta_slow": (),
    "extrapolation_factor": (),
    "final_logit_softcapping": (0,),
    "global_attn_every_n": (1,),
    "hidden_act": ("gelu_pytorch_tanh", "gelu_new", "gelu"),
    "moe_router_renormalize": (False,),
    "original_max_position_embeddings": (),
    "partial_rotary_factor": (1,),
    "residual_moe": (False,),
    SCALED_ROTATION: ("none",),
    "rope_type": ("original", "default"),
    "router_logit_softcapping": (0,),
    "scaling_factor": (),
    "sliding_window": (0, -1),
    "sliding_window_size": (-1, 0),
}
"""Keys of a config that change the results of some program but are no constants of a family.

Each has the values that a missing key stands for, unless the family's release has others; without
any, the key is compared only if both checkpoints have it.
"""
_SYNONYMS = ("rope_type", "sliding_window", "sliding_window_size")
"""Switches whose usual values all mean the same."""
_LONGEST = 80  # characters of a value that a finding shows
_ROUNDING = 1e-6  # relative; the rounding of a decimal in a config, or of float32 in a GGUF


def check_dimensions(first: Checkpoint, second: Checkpoint) -> None:
    """Refuse two networks that cannot run on the same tokens, layer by layer.

    Raises:
        GrokpackError: GP343 where a dimension differs.
    """
    for name in _DIMENSIONS:
        pair = getattr(first.geometry, name), getattr(second.geometry, name)
        if pair[0] != pair[1]:
            facts = ((first.place, str(pair[0])), (second.place, str(pair[1])))
            what = f"the networks have other dimensions: {name} differs"
            raise GrokpackError("GP343", what, None, facts)


def differences(first: Checkpoint, second: Checkpoint) -> list[Finding]:
    """Find constants, switches and tokens that differ between two checkpoints.

    A constant or switch that a config lacks is the reference's. If a config has a constant under
    several keys, all of them count, because programs differ in the key that they read.
    """
    rows = []
    reference = hyperparameters.defaults(first.model)
    given = [hyperparameters.stated(c.config, first.model.family) for c in (first, second)]
    for name in given[0]:
        ours, theirs = (said[name] for said in given)
        if name in _TOKENS or (name in _OPTIONAL and not (ours and theirs)):
            continue
        default = {name: getattr(reference, name)}
        rows += _unequal(name, ours or default, theirs or default)
    for key, usual in _switches(first.model.family).items():
        one, other = (switch(checkpoint.config, key) for checkpoint in (first, second))
        if not _alike(key, one, other, usual):
            rows.append(_finding(key, *(_shown(value, usual) for value in (one, other))))
    return rows + tokenizer_comparison.differences(first, second)


def refuse_other_network(*checkpoints: Checkpoint) -> None:
    """Refuse a setting that asks for another network than the one computed here.

    Of several checkpoints all have to ask for another one: what is not alike in them is found
    anyway.

    Raises:
        GrokpackError: GP345.
    """
    asked = [hyperparameters.switched(c.config, c.model.family) for c in checkpoints]
    if all(asked):
        what = f"the network of {checkpoints[0].place} is not computed here"
        raise GrokpackError("GP345", what, None, tuple(("config", text) for text in asked[0]))


def ignored_switches(checkpoint: Checkpoint) -> list[str]:
    """Describe switches of a config that differ from the release's and are ignored."""
    family = checkpoint.model.family
    found = {key: switch(checkpoint.config, key) for key in _switches(family)}
    return [
        f"config.json of the source has {key} {_shown(found[key], usual)}: the network runs with "
        f"the release's {_shown(None, usual)}"
        for key, usual in _switches(family).items()
        if usual and not _alike(key, found[key], None, usual) and key not in family.switches
    ]


def _switches(family: Family) -> dict[str, tuple[Any, ...]]:
    """Return the switches that are no constants of a family, with what a missing one stands for."""
    constants = {key for keys in family.hyperparameters.values() for key in keys}
    own: dict[str, tuple[Any, ...]] = {"mask_pad_token": (family.network.masks_padding,)}
    if not family.tied:
        own["tie_word_embeddings"] = (False,)
    released = {key: (value,) for key, value in family.config.items() if key in _SWITCHES}
    usual = _SWITCHES | own | released | dict(family.switches)
    return {key: values for key, values in usual.items() if key not in constants}


def _alike(key: str, one: object, other: object, usual: tuple[Any, ...]) -> bool:
    """Return whether two values of a switch are the same, where a missing one is a usual one."""
    if one is None or other is None:
        said = other if one is None else one
        return said is None or not usual or said in usual
    return bool(one == other) or (key in _SYNONYMS and one in usual and other in usual)


def _shown(value: object, usual: tuple[Any, ...]) -> str:
    text = repr(usual[0] if value is None else value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _unequal(name: str, ours: dict[str, float], theirs: dict[str, float]) -> list[Finding]:
    """Make a finding if a number given on one side differs from the other's."""
    pairs = [(a, b) for a in ours.values() for b in theirs.values()]
    if all(math.isclose(a, b, rel_tol=_ROUNDING) for a, b in pairs):
        return []
    return [_finding(name, _listed(ours), _listed(theirs))]


def _listed(numbers: dict[str, float]) -> str:
    if len(set(numbers.values())) == 1:
        return f"{next(iter(numbers.values())):g}"
    return ", ".join(f"{key} {number:g}" for key, number in numbers.items())


def _finding(name: str, ours: str, theirs: str) -> Finding:
    return Finding("GP143", f"{name} is not the same in both", None, None, ours, theirs)
