"""Comparison of the configs of two checkpoints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError
from grokpack.core.finding import Finding
from grokpack.models import hyperparameters

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
_OPTIONAL = ("context", "pad", "bos", "eos")
"""Constants that many formats cannot hold; they are compared only if both checkpoints have them."""
_SWITCHES = (
    "attn_factor",
    "beta_fast",
    "beta_slow",
    "extrapolation_factor",
    "global_attn_every_n",
    "hidden_act",
    "mask_pad_token",
    "moe_router_renormalize",
    "original_max_position_embeddings",
    "residual_moe",
    "rope_scaling",
    "rope_type",
    "router_logit_softcapping",
    "scaling_factor",
    "sliding_window_size",
)
"""Keys of a config that change the results of some program but are no constants of a family."""
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
    """Find constants, token ids and switches that differ between two configs.

    A constant that a config lacks is the reference's. If a config has it under several keys, all
    of them count, because programs differ in the key that they read.
    """
    rows = []
    usual = hyperparameters.defaults(first.model)
    given = [hyperparameters.stated(c.config, first.model.family) for c in (first, second)]
    for name in given[0]:
        ours, theirs = (said[name] for said in given)
        if name in _OPTIONAL and not (ours and theirs):
            continue
        default = {name: getattr(usual, name)}
        rows += _unequal(name, ours or default, theirs or default)
    for key in _switches(first.model.family):
        one, other = first.config.get(key), second.config.get(key)
        if one is not None and other is not None and one != other:
            rows.append(_finding(key, repr(one), repr(other)))
    return rows


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


def unheeded(checkpoint: Checkpoint) -> list[str]:
    """Say which switches of a config are not those of the release, whose network runs anyway."""
    released = checkpoint.model.family.config
    pairs = (
        (key, released.get(key), checkpoint.config.get(key))
        for key in _switches(checkpoint.model.family)
    )
    return [
        f"config.json of the source has {key} {found!r}: the network runs with the release's "
        f"{wanted!r}"
        for key, wanted, found in pairs
        if wanted is not None
        and found is not None
        and found != wanted
        and key not in checkpoint.model.family.switches
    ]


def _switches(family: Family) -> list[str]:
    """Return the switches that are no constants of a family."""
    constants = {key for keys in family.hyperparameters.values() for key in keys}
    return sorted({*_SWITCHES} - constants)


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
