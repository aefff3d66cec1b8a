"""config.json: values that shapes do not show, in xAI's keys or Hugging Face's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError, UnusableValue
from grokpack.models import hyperparameters
from grokpack.models.geometry_inference import Hints
from grokpack.models.hyperparameters import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.models.architecture import Geometry
    from grokpack.models.family import Family, Model

FILE = "config.json"

_MOST_LAYERS = 1024  # more are refused: a hostile number must not cost time; Grok-1 has 64
_FEW, _LONGEST = 5, 40  # entries that a note names, and characters of each
_LARGEST_SHOWN = 10**24
_CLASSES = "Grok"
_CARRIED = ("widening_factor",)
_OF_FILES = ("auto_map", "load_presharded_moe", "quantization_config")
_UNTOLD = (
    "architectures",
    "model_type",
    "transformers_version",
    "_name_or_path",
    "torch_dtype",
    "dtype",
    "use_cache",
    "initializer_range",
    "output_router_logits",
    "router_aux_loss_coef",
    "tie_word_embeddings",
    "hidden_act",
    "mask_pad_token",
    "max_attn_value",
)
"""Entries that a config may lose: of programs and training, and what the family says anyway."""
_COMPARED = ("vocab", "d_model", "layers", "experts", "ffn", "mlp", "q_heads", "kv_heads")


def value(config: Mapping[str, Any], family: Family, dimension: str) -> int | None:
    """Read a dimension by its name in `Geometry`, whichever convention the config follows."""
    for key in family.dimensions.get(dimension, ()):
        number = _count(config.get(key))
        if number is not None:
            return number
    return None


def _count(found: object) -> int | None:
    """Return a positive whole number as it is, and None for anything else."""
    if isinstance(found, bool) or not isinstance(found, int) or found <= 0:
        return None
    return found


def hints(config: Mapping[str, Any], family: Family, head_dim: int | None = None) -> Hints:
    """Return the config's values that shapes do not show.

    Args:
        config: The config; may be empty.
        family: Family whose keys it has.
        head_dim: Size of an attention head, as given for a config without it.

    Raises:
        UnusableValue: GP346 for another size than the config has.
    """
    layers = value(config, family, "layers")
    return Hints(
        head_dim=agreed_head_dim(head_dim, value(config, family, "head_dim")),
        q_heads=value(config, family, "q_heads"),
        kv_heads=value(config, family, "kv_heads"),
        layers=layers if layers and layers <= _MOST_LAYERS else None,
        scale_groups=value(config, family, "scale_groups"),
        dims=_dims(config, family),
    )


def _dims(config: Mapping[str, Any], family: Family) -> dict[str, int]:
    """Return the dimensions of tensors that a config states, widths of attention among them."""
    said = {name: value(config, family, name) for name in _COMPARED}
    heads = value(config, family, "head_dim") or 0
    said["q_width"] = heads * (said["q_heads"] or 0)
    said["kv_width"] = heads * (said["kv_heads"] or 0)
    return {name: size for name, size in said.items() if size}


def agreed_head_dim(given: int | None, stored: int | None) -> int | None:
    """Return the size of an attention head, given or stored.

    Raises:
        UnusableValue: GP346 where the two differ.
    """
    if given is not None and stored is not None and given != stored:
        what = f"--head-dim is {given}, and the checkpoint's own config has {_short(stored)}"
        facts = (("option", "--head-dim"),)
        hint = "leave --head-dim: it is for a checkpoint whose config lacks the size"
        raise UnusableValue(what, None, facts, hint)
    return stored if given is None else given


def refuse_head_dim(given: int, model: Model, config: Mapping[str, Any]) -> None:
    """Refuse a size that the attention of a model cannot have, or that its config contradicts.

    Raises:
        UnusableValue: GP346.
    """
    geometry, heads = model.geometry, value(config, model.family, "q_heads")
    if _attention_rest(given, geometry):
        what = f"--head-dim {given} does not divide {_attention_widths(geometry)}"
    elif given % 2:
        what = f"--head-dim {given} is odd, and a rotation turns pairs"
    elif heads is not None and heads * given != geometry.q_width:
        what = f"--head-dim {given} gives {geometry.q_width // given} heads, and the config {heads}"
    else:
        return
    raise UnusableValue(what, None, (("option", "--head-dim"),))


def contradictions(config: Mapping[str, Any], model: Model) -> list[str]:
    """Describe values of the config that contradict the shapes, or that nothing can have."""
    geometry, family = model.geometry, model.family
    wrong = [*hyperparameters.impossible(config, family), *_no_counts(config, family)]
    for dimension in _COMPARED:
        said, seen = value(config, family, dimension), getattr(geometry, dimension)
        if said is not None and seen is not None and said != seen:
            wrong.append(
                f"{family.dimensions[dimension][0]} is {_short(said)} there, {seen} by the shapes"
            )
    return [*wrong, *_undivided(config, model)]


def _no_counts(config: Mapping[str, Any], family: Family) -> list[str]:
    """Describe dimensions of the config that are no positive whole numbers."""
    keys = (key for keys in family.dimensions.values() for key in keys)
    return [
        f"{key} is {shown(config[key])} there, which no model can have"
        for key in keys
        if config.get(key) is not None and _count(config[key]) is None
    ]


def _undivided(config: Mapping[str, Any], model: Model) -> list[str]:
    """Describe numbers of the config that the model's widths and experts have no room for."""
    geometry, wrong = model.geometry, []
    chosen = hyperparameters.read(config, model).selected_experts
    if chosen > geometry.experts:
        wrong.append(f"{chosen:,} experts of each token are more than the {geometry.experts}")
    groups = value(config, model.family, "scale_groups")
    if groups and (geometry.q_width % groups or geometry.ffn % groups):
        wrong.append(
            f"{_short(groups)} scale groups do not divide the widths "
            f"{geometry.q_width} and {geometry.ffn}"
        )
    head_dim = geometry.head_dim
    if head_dim and _attention_rest(head_dim, geometry):
        wrong.append(f"head size {head_dim} does not divide {_attention_widths(geometry)}")
    elif head_dim and head_dim % 2:
        wrong.append(f"head size {head_dim} is odd, and a rotation turns pairs")
    return wrong


def _attention_rest(head_dim: int, geometry: Geometry) -> int:
    return geometry.q_width % head_dim or geometry.kv_width % head_dim


def _attention_widths(geometry: Geometry) -> str:
    return f"the attention widths {geometry.q_width} and {geometry.kv_width}"


def _short(number: int) -> str:
    return str(number) if number < _LARGEST_SHOWN else "absurdly large"


def render(model: Model, source: Mapping[str, Any]) -> bytes:
    """Make a config.json in the family's own keys: dimensions by shape, constants by the source.

    Args:
        model: The model; its head size must be known.
        source: Config of the source, whose constants are carried over; may be empty.
    """
    family = model.family
    if model.geometry.head_dim is None:
        raise unknown_head_size(family)
    if family.config:
        return rendered(as_released(model, source), sort=False)
    config: dict[str, Any] = {
        **_dimensions(model),
        **hyperparameters.named(hyperparameters.read(source, model), family),
        **family.marks,
    }
    config |= {key: source[key] for key in _CARRIED if key in source}
    return rendered(config)


def rendered(config: Mapping[str, Any], *, sort: bool = True) -> bytes:
    """Render a config as a file, its keys sorted or in their order."""
    return (json.dumps(config, indent=2, sort_keys=sort) + "\n").encode()


def as_released(model: Model, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the keys of the release: the source's values, in the source's order.

    Keys that the source lacks come last, as the shapes, other keys of the source or the release
    have them. Those that tell how the source's files hold its weights are left out.
    """
    family = model.family
    stated = {
        key: family.marks.get(key, said) for key, said in source.items() if key not in _OF_FILES
    }
    ours = _dimensions(model) | hyperparameters.named(hyperparameters.read(source, model), family)
    added = {
        key: said if said == ours.get(key, said) else ours[key]
        for key, said in family.config.items()
        if key not in stated
    }
    return stated | added


def left_out(source: Mapping[str, Any], made: Mapping[str, Any], family: Family) -> list[str]:
    """Note the entries of a source's config that grokpack does not know, and an output lacks.

    What is off in the source, as null, false or zero, is no loss.

    Args:
        source: Config of the source.
        made: Config of the output; empty where it has none.
        family: The model's family.
    """
    keys = (key for table in (family.dimensions, family.hyperparameters) for key in table.values())
    known = {key.split(".")[0] for own in keys for key in own}
    known |= {
        *_OF_FILES,
        *_CARRIED,
        *_UNTOLD,
        *family.config,
        *family.marks,
        *family.switches,
        *made,
    }
    lost = [repr(key[:_LONGEST]) for key, said in source.items() if said and key not in known]
    if not lost:
        return []
    shown = ", ".join(lost[:_FEW]) + (f" and {len(lost) - _FEW} more" if lost[_FEW:] else "")
    return [f"entries of the source's config.json that are not known here are left out: {shown}"]


def misnamed(config: Mapping[str, Any], family: Family) -> list[str]:
    """Name the entries of a config that give another model's class or type.

    A config with code of its own has names of its own. Programs have called a class of the family
    by several names, all of which begin alike.
    """
    if "auto_map" in config:
        return []
    wrong = []
    for key in ("architectures", "model_type"):
        usual, found = family.config.get(key), config.get(key)
        if usual is None or found in (None, usual, []):
            continue
        names = found if key == "architectures" and isinstance(found, list) else None
        if not (names and all(str(name).startswith(_CLASSES) for name in names)):
            wrong.append(f"{key} is {shown(found)} in config.json, not {usual!r}: another model's")
    return wrong


def _dimensions(model: Model) -> dict[str, int]:
    """Return the dimensions by the family's own keys."""
    return {
        keys[0]: size
        for dimension, keys in model.family.dimensions.items()
        if (size := getattr(model.geometry, dimension)) is not None
    }


def unknown_head_size(family: Family) -> GrokpackError:
    """Return the error for a model whose head size is not known."""
    what = "the size of an attention head is not known: shapes do not tell it"
    key = family.dimensions["head_dim"][0]
    hint = f"give `--head-dim N`, or put a config.json with `{key}` beside the checkpoint"
    return GrokpackError("GP211", what, hint=hint)
