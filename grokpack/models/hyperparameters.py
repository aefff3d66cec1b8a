"""Constants of the network that no tensor shows, under each program's keys."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from grokpack.models.architecture import Constants

if TYPE_CHECKING:
    from grokpack.models.family import Family, Model


_LARGEST_WHOLE = (1 << 31) - 1
_LARGEST_REAL = 3.4028234e38  # of float32
_COUNTS = ("context", "selected_experts")
_TOKENS = ("pad", "bos", "eos")  # some write -1 for a missing token
_NO_TOKEN = -1
_LEAST_WHOLE = {
    **dict.fromkeys(_COUNTS, 1),
    **dict.fromkeys((*_TOKENS, "temperature_context"), _NO_TOKEN),  # which some switch off by -1
}
_ABOVE_ZERO = ("rope_theta", "embedding_multiplier", "output_multiplier", "attn_output_multiplier")
_FROM_ZERO = ("rms_norm_eps", "attn_logit_cap", "router_logit_cap", "final_logit_cap")
_DECIMALS = 1e-6  # what a number may lose as a decimal in a config
SCALED_ROTATION = "rope_scaling"
"""Key of how rotations are scaled, which transformers 5 spells otherwise."""
_PLAIN_ROTATIONS = (None, "default", "original")
_LONGEST = 24  # characters of a value that a message shows


def defaults(model: Model) -> Constants:
    """Return the reference's constants for a model; its head size must be known."""
    constants = model.family.constants(model.geometry)
    return replace(constants, selected_experts=model.selected_experts)


def read(config: Mapping[str, Any], model: Model) -> Constants:
    """Read the constants that a config gives, by any of their keys; else the reference's."""
    found, keys = {}, model.family.hyperparameters
    for field in fields(Constants):
        for key in keys.get(field.name, ()):
            number = _number(config, key, field.name)
            if number is not None:
                kind = int if field.type == "int" else float
                found[field.name] = kind(number)
                break
    return replace(defaults(model), **found)  # type: ignore[arg-type]


def masked_token(config: Mapping[str, Any], model: Model) -> int:
    """Return the token that attention masks wherever it stands; -1 for none."""
    return read(config, model).pad if model.family.network.masks_padding else _NO_TOKEN


def stated(config: Mapping[str, Any], family: Family) -> dict[str, dict[str, float]]:
    """Return every number that a config gives for each constant, by name and by key."""
    return {
        name: {key: number for key in keys if (number := _stated(config, key)) is not None}
        for name, keys in family.hyperparameters.items()
    }


def impossible(config: Mapping[str, Any], family: Family) -> list[str]:
    """Describe constants of a config that no network can have, or that are no numbers."""
    wrong, keys = [], family.hyperparameters
    for field in fields(Constants):
        for key in keys.get(field.name, ()):
            found, number = _held(config, key), _stated(config, key)
            if number is not None and not _possible(number, field.name):
                wrong.append(f"{key} is {shown(number)} there, which no network can have")
            elif found is not None and number is None and field.name not in _TOKENS:
                wrong.append(f"{key} is {shown(found)} there, which is no number")
    return wrong


def disagreeing(config: Mapping[str, Any], family: Family) -> list[str]:
    """Describe constants that a config gives differently by several keys: programs read one."""
    given = ((name, rows) for name, rows in stated(config, family).items() if len(rows) > 1)
    return [
        ", ".join(f"{key} {number:g}" for key, number in rows.items())
        + " in config.json: programs differ in which they read"
        for name, rows in given
        if name not in ("context", *_TOKENS)
        and not math.isclose(min(rows.values()), max(rows.values()), rel_tol=_DECIMALS)
    ]


def _number(config: Mapping[str, Any], key: str, name: str) -> float | None:
    number = _stated(config, key)
    return number if number is not None and _possible(number, name) else None


def _stated(config: Mapping[str, Any], key: str) -> float | None:
    """Return a number of a config; None if the key is missing, or a text, a list or null."""
    number = _held(config, key)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    return number


def _held(config: Mapping[str, Any], key: str) -> object:
    """Return an entry of a config, below others where the key has dots; None if it is missing."""
    found: object = config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _possible(number: float, name: str) -> bool:
    """Return whether a network can have a constant, and it fits engines' 32 bits.

    Infinity and NaN do not.
    """
    least = _LEAST_WHOLE.get(name)
    if least is not None:
        return least <= number <= _LARGEST_WHOLE and number == int(number)
    if (name in _ABOVE_ZERO and number <= 0) or (name in _FROM_ZERO and number < 0):
        return False
    return abs(number) <= _LARGEST_REAL


def shown(found: object) -> str:
    """Show a value of a config, cut to a few characters."""
    text = repr(found)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def real(config: Mapping[str, Any], key: str, usual: float) -> float:
    """Return a number of a config, or the usual one where there is none that engines can hold."""
    number = _number(config, key, key)
    return float(usual if number is None else number)


def from_float32(config: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Restore the reference's digits in a config whose constants passed through float32.

    A constant that float32 rounds to the same value as the reference's is the reference's. It is
    spelled as in the release's config.json, and left out where that has no such key.
    """
    usual, mended, released = defaults(model), dict(config), model.family.config
    keys = model.family.hyperparameters
    for field in fields(Constants):
        wanted = getattr(usual, field.name)
        for key in keys.get(field.name, ()):
            found = config.get(key)
            if not isinstance(found, float) or not _possible(found, field.name):
                continue
            if _as_float32(found) == _as_float32(wanted):
                mended[key] = _spelled(wanted, released.get(key))
            if released and key not in released and mended[key] == wanted:
                del mended[key]
    return mended


def _spelled(number: float, released: float | None) -> float:
    """Return a number as the release's config has it, where it is that number."""
    return number if released is None or released != number else released


def _as_float32(number: float) -> bytes:
    return struct.pack("<f", number)


def notes(config: Mapping[str, Any], model: Model) -> list[str]:
    """Note the constants of a source's config that are not the reference's, or that it lacks."""
    constants, usual = read(config, model), defaults(model)
    pairs = [
        (f.name, getattr(constants, f.name), getattr(usual, f.name))
        for f in fields(Constants)
        if f.name not in ("context", *_TOKENS)
    ]
    return [
        *(
            f"config.json of the source has {name} {found!r}, not {wanted!r}; it is carried over"
            for name, found, wanted in pairs
            if not math.isclose(found, wanted, rel_tol=_DECIMALS)
        ),
        *lacking(config, model),
        *switched(config, model.family),
        *disagreeing(config, model.family),
    ]


def switched(config: Mapping[str, Any], family: Family) -> list[str]:
    """Name the entries of a config that ask for another network than the family's."""
    return [
        f"{key} is {found!r} in config.json, not {usual[0]!r}: that is another network"
        for key, usual in family.switches.items()
        if (found := switch(config, key)) is not None and found not in usual
    ]


def switch(config: Mapping[str, Any], key: str) -> object:
    """Return an entry of a config that is no constant; None where it has none, or null."""
    return _scaled_rotation(config) if key == SCALED_ROTATION else config.get(key)


def _scaled_rotation(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how a config has rotations scaled; None for plain ones, however they are spelled."""
    for key in ("rope_parameters", "rope_scaling"):  # the first since transformers 5
        rows = config.get(key)
        rows = {} if not isinstance(rows, dict) else rows
        scaled = {name: value for name, value in rows.items() if name != "rope_theta"}
        if scaled and scaled.get("rope_type", scaled.get("type", "")) not in _PLAIN_ROTATIONS:
            return scaled
    return None


def lacking(config: Mapping[str, Any], model: Model) -> list[str]:
    """Say which constants the release's config gives and this one does not, and what is taken."""
    usual, known = named(defaults(model), model.family), stated(config, model.family)
    keys = {rows[0]: name for name, rows in model.family.hyperparameters.items()}
    return [
        f"config.json of the source gives no {key}: the release's {usual[key]!r} is taken"
        for key in model.family.config
        if key in keys and not known[keys[key]]
    ]


def named(constants: Constants, family: Family) -> dict[str, Any]:
    """Return the constants by the family's own keys."""
    return {keys[0]: getattr(constants, name) for name, keys in family.hyperparameters.items()}
