"""Policy files: TOML with tables `[[tensors]]`, each of which is a rule.

A file is accepted as a whole, or refused with the table and the key that are wrong. Types are
compared exactly: 8.0 is not 8, and 1 is not true.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.conversion.quantization.policy import (
    BITS,
    CHANNEL,
    GROUPS,
    KEPT_BITS,
    PolicyRule,
)
from grokpack.core.errors import GrokpackError, Place
from grokpack.core.ggml_types import QUANTIZING, GGMLType
from grokpack.models import tensor_patterns
from grokpack.transforms.quantization_scheme import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from grokpack.models.family import Model

_ALLOWED: dict[str, tuple[object, ...]] = {
    "bits": (*BITS, KEPT_BITS),
    "group": (*GROUPS, CHANNEL),
    "method": tuple(METHODS),
    "symmetric": (True, False),
    "type": (*QUANTIZING, GGMLType.BF16.word),
}
"""Fields that a rule can change for a weight, with their values."""
_OF_TYPES = ("bits", "group", "symmetric")  # fields that follow from a type of GGUF's blocks
_CHOICES = ("role", "name", "layers")
_MOST_BYTES = 256 << 10  # a policy for every tensor of the release takes 60 kB
_MOST_RULES = 1024  # the release has 448 weights that can be quantized
_MOST_TEXT = 4096  # characters
_MOST_DOTS = 8  # in a line: keys here have none, and parsing a key costs the square of its parts
_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?")


def read(path: str, model: Model) -> tuple[PolicyRule, ...]:
    """Read the rules of a policy file.

    Args:
        path: A TOML file with tables `[[tensors]]`.
        model: The model; negative layers count from its end.

    Raises:
        GrokpackError: GP310 with the table and key that are wrong, GP216 if a name matches no
            tensor, GP235 if the file is larger than any policy.
    """
    document = _parse(storage.read_whole(path, _MOST_BYTES), path)
    tables = document.pop("tensors", [])
    if document or not isinstance(tables, list):
        raise _wrong(path, "a policy has tables [[tensors]] and nothing else")
    if len(tables) > _MOST_RULES:
        raise _wrong(path, f"a policy has at most {_MOST_RULES:,} tables, not {len(tables):,}")
    rules = []
    for number, table in enumerate(tables, 1):
        try:
            rules.append(_rule(table, model))
        except ValueError as error:
            raise _wrong(path, f"table {number}: {error}") from error
    return tuple(rules)


def render(rules: Iterable[PolicyRule]) -> str:
    """Render rules as the text of a policy file."""
    return "\n".join(f"[[tensors]]\n{''.join(_lines(rule))}" for rule in rules)


def _lines(rule: PolicyRule) -> Iterator[str]:
    changes: dict[str, Any] = {"bits": KEPT_BITS} if rule.changes is None else dict(rule.changes)
    if changes.get("group", CHANNEL) is None:
        changes["group"] = CHANNEL
    if rule.type is not None:
        changes = {"type": rule.type, **changes}
        del changes["bits"]
    layers = None if rule.layers is None else sorted(rule.layers)
    chosen = {"role": rule.role, "name": rule.name, "layers": layers, **changes}
    for key, value in chosen.items():
        if value is not None:
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}\n"


def _parse(data: bytes, path: str) -> dict[str, Any]:
    for number, text in enumerate(data.split(b"\n"), 1):
        if text.count(b".") > _MOST_DOTS and not text.lstrip().startswith(b"#"):
            raise _wrong(path, f"line {number:,} has more than {_MOST_DOTS} dots")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"not TOML: {error}") from error


def _rule(table: object, model: Model) -> PolicyRule:
    if not isinstance(table, dict):
        raise _unfit("tensors has tables and nothing else")
    unknown = sorted({*table} - {*_ALLOWED, *_CHOICES})
    if unknown:
        listed = ", ".join(sorted({*_ALLOWED, *_CHOICES}))
        raise _unfit(f"`{unknown[0][:_MOST_TEXT]}` is no key; there are {listed}")
    changes = {key: table[key] for key in _ALLOWED if key in table}
    for key, value in changes.items():
        _check(key, value, _ALLOWED[key])
    role, name = table.get("role"), table.get("name")
    if "role" in table:
        _check("role", role, _roles(model))
    if "name" in table and not (isinstance(name, str) and 0 < len(name) <= _MOST_TEXT):
        raise _unfit("name takes a pattern of names")
    chosen = _layers(table["layers"], model.geometry.layers) if "layers" in table else None
    kind = changes.pop("type", None)
    rule = PolicyRule(role, name, chosen, _effect(changes, kind), kind)
    _check_taken(rule, model)
    return rule


def _roles(model: Model) -> list[str]:
    """Roles of the weights that can be quantized."""
    return sorted({rule.role for rule in model.family.rules if rule.quantized})


def _check(key: str, value: object, allowed: Iterable[object]) -> None:
    """Refuse a value that equals none of these in value and type."""
    if not any(type(value) is type(one) and value == one for one in allowed):
        listed = ", ".join(str(one).lower() for one in allowed)
        raise _unfit(f"{key} takes {listed}")


def _effect(changes: dict[str, Any], kind: str | None) -> dict[str, Any] | None:
    """Return the fields of the scheme; None if the weight is kept."""
    if kind is not None:
        told = [key for key in changes if key in _OF_TYPES]
        if told:
            raise _unfit(f"type says {told[0]} as well")
        bits = GGMLType[kind.upper()].bits
        return None if bits is None else {"bits": bits, **changes}
    if not changes:
        raise _unfit("nothing is changed; name bits, group, method, symmetric or type")
    if changes.get("bits") == KEPT_BITS:
        others = [key for key in changes if key != "bits"]
        if others:
            raise _unfit(f"bits = {KEPT_BITS} keeps the weight, so {others[0]} says nothing")
        return None
    if changes.get("group") == CHANNEL:
        changes["group"] = None
    return changes


def _check_taken(rule: PolicyRule, model: Model) -> None:
    """Refuse a rule that changes nothing; GP216 for a name that no tensor has."""
    listed = model.tensors()
    if rule.name is not None:
        tensor_patterns.select(listed, rule.name)
    taken = [entry for entry in listed if rule.takes(entry)]
    if not taken:
        raise _unfit("no tensor is of this role, name and layers")
    typed = rule.type is not None
    possible = any(e.rule.quantized or (typed and e.rule.by_token) for e in taken)
    if (rule.changes is not None or typed) and not possible:
        raise _unfit(f"{taken[0].name} is never quantized, nor what else this rule takes")


def _layers(value: object, layers: int) -> frozenset[int]:
    """Parse `[0, -1]` or `"0-3, 60-63"` into layers."""
    numbers: set[int] | None = set()
    if isinstance(value, str):
        numbers = _ranges(value, layers) if len(value) <= _MOST_TEXT else None
    elif isinstance(value, list) and all(type(n) is int and -layers <= n < layers for n in value):
        numbers = {n % layers for n in value}
    if not numbers:
        raise _unfit(f"layers takes numbers from 0 to {layers - 1}, or ranges as text")
    return frozenset(numbers)


def _ranges(text: str, layers: int) -> set[int] | None:
    """Parse ranges into layers; None if one is not in this model."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < layers:
            return None
        numbers.update(range(first, last + 1))
    return numbers


def _unfit(what: str) -> ValueError:
    """Make the error for a table; the caller adds its number."""
    return ValueError(what)


def _wrong(path: str, what: str) -> GrokpackError:
    hint = "see docs/how-to/quantize.md for a policy that works"
    return GrokpackError("GP310", what, Place(path), hint=hint)
