"""Which weights are quantised, and how: a default, what is kept, and rules by role, name, layer."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.errors import GrokpackError, Place
from grokpack.models import grok1, selection
from grokpack.ops.source_weight import SourceWeight
from grokpack.recipe import METHODS, Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.importance import Importance
    from grokpack.models.grok1 import Entry, Geometry
    from grokpack.tensor import TensorSpec

CHANNEL = "channel"
KEPT_BITS = 16
GROUPS = (32, 64, 128, 256)
BITS = (4, 8)
ROLES = ("attention", "expert")
_CHANGES: tuple[str, ...] = ("bits", "group", "method", "symmetric")
_KEYS = {"role", "name", "layers", *_CHANGES}
_LIMIT_BYTES = 1 << 20  # a policy for every tensor of the release takes 60 kB


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a policy: which weights, and what is different for them.

    Attributes:
        role: `attention` or `expert`; None for both.
        name: Pattern of names, as `grokpack.models.selection` understands them; None for all.
        layers: Layers; None for all.
        changes: Fields of the recipe and their values; None where the weight is kept.
    """

    role: str | None
    name: str | None
    layers: frozenset[int] | None
    changes: dict[str, Any] | None

    def takes(self, entry: Entry) -> bool:
        """Whether the rule is about this tensor."""
        return (
            self.role in (None, entry.rule.role)
            and (self.name is None or selection.matches(entry, self.name))
            and (self.layers is None or entry.layer in self.layers)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A default and rules; of the rules that take a weight each changes what those before left.

    Attributes:
        default: The recipe of weights that no rule takes.
        rules: In order.
        importance: How much errors matter, weight by weight; None for all alike.
    """

    default: Recipe
    rules: tuple[Rule, ...] = ()
    importance: Importance | None = None

    def weight(self, tensor: TensorSpec, groups: int | None) -> SourceWeight:
        """A weight as it is to be quantised.

        Raises:
            GrokpackError: GP344 where the calibration has nothing of it.
        """
        own = None if self.importance is None else self.importance.of(tensor)
        return SourceWeight(tensor, groups, own)

    def recipe(self, entry: Entry) -> Recipe | None:
        """How a weight is quantised; None for what stays precise."""
        if not entry.rule.quantised:
            return None
        recipe: Recipe | None = self.default
        for rule in self.rules:
            if rule.takes(entry):
                recipe = None if rule.changes is None else replace(self.default, **rule.changes)
        return recipe

    def forced(self, **changes: Any) -> Policy:  # noqa: ANN401  # fields of a recipe
        """The same policy where a format leaves no choice of some fields."""
        rules = tuple(
            replace(rule, changes={k: v for k, v in rule.changes.items() if k not in changes})
            if rule.changes
            else rule
            for rule in self.rules
        )
        return replace(self, default=replace(self.default, **changes), rules=rules)

    def recipes(self, geometry: Geometry) -> list[tuple[Entry, Recipe | None]]:
        """Every weight that could be quantised, in file order."""
        listed = (entry for entry in grok1.entries(geometry.layers) if entry.rule.quantised)
        return [(entry, self.recipe(entry)) for entry in listed]


def keep(pattern: str) -> Rule:
    """The rule of `--keep`."""
    return Rule(None, pattern, None, None)


def read(path: str, layers: int) -> tuple[Rule, ...]:
    """The rules of a policy file.

    Args:
        path: A TOML file with tables `[[tensors]]`.
        layers: Layers of the model; negative numbers count from its end.

    Raises:
        GrokpackError: GP310 with the table and key that are wrong.
    """
    data = storage.FileBytes(path)
    try:
        document = tomllib.loads(data.read(0, min(data.size(), _LIMIT_BYTES)).decode())
    except (ValueError, RecursionError) as error:
        raise GrokpackError("GP310", f"not TOML: {error}", Place(path)) from error
    tables = document.pop("tensors", [])
    if document or not isinstance(tables, list):
        raise _wrong(path, "a policy has tables [[tensors]] and nothing else")
    return tuple(_rule(path, number, table, layers) for number, table in enumerate(tables, 1))


def _rule(path: str, number: int, table: object, layers: int) -> Rule:
    where = f"table {number}: "
    if not isinstance(table, dict):
        raise _wrong(path, f"{where}tensors has tables and nothing else")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise _wrong(path, f"{where}`{unknown[0]}` is no key; there are {', '.join(sorted(_KEYS))}")
    if table.get("role") not in (None, *ROLES):
        raise _wrong(path, f"{where}role takes {', '.join(ROLES)}")
    if not isinstance(table.get("name", ""), str):
        raise _wrong(path, f"{where}name takes a pattern of xAI's names")
    changes = {key: table[key] for key in _CHANGES if key in table}
    chosen = _layers(path, where, table["layers"], layers) if "layers" in table else None
    if changes.get("bits") == KEPT_BITS:
        return Rule(table.get("role"), table.get("name"), chosen, None)
    if not changes:
        raise _wrong(path, f"{where}nothing is changed; name bits, group, method or symmetric")
    _check(path, where, changes)
    if changes.get("group") == CHANNEL:
        changes["group"] = None
    return Rule(table.get("role"), table.get("name"), chosen, changes)


def _check(path: str, where: str, changes: dict[str, Any]) -> None:
    allowed: dict[str, tuple[object, ...]] = {
        "bits": (*BITS, KEPT_BITS),
        "group": (*GROUPS, CHANNEL),
        "method": tuple(METHODS),
        "symmetric": (True, False),
    }
    for key, value in changes.items():
        if value not in allowed[key] or isinstance(value, bool) is not (key == "symmetric"):
            listed = ", ".join(str(v).lower() for v in allowed[key])
            raise _wrong(path, f"{where}{key} takes {listed}")


def _layers(path: str, where: str, value: object, layers: int) -> frozenset[int]:
    """`[0, -1]`, or `"0-3, 60-63"`."""
    try:
        numbers = set(_numbers(value, layers))
    except (TypeError, ValueError):
        numbers = {layers}
    if not numbers or any(not 0 <= n < layers for n in numbers):
        raise _wrong(path, f"{where}layers takes numbers from 0 to {layers - 1}, or ranges as text")
    return frozenset(numbers)


def _numbers(value: object, layers: int) -> Iterator[int]:
    if isinstance(value, str):
        for part in value.split(","):
            first, dash, last = part.strip().partition("-")
            begin, end = int(first), int(last if dash else first) + 1
            yield from range(begin, min(end, max(begin, layers) + 1))  # one that is refused will do
    elif isinstance(value, list) and all(type(n) is int for n in value):
        yield from (n + layers if n < 0 else n for n in value)
    else:
        raise TypeError


def _wrong(path: str, what: str) -> GrokpackError:
    hint = "see docs/how-to/quantize.md for a policy that works"
    return GrokpackError("GP310", what, Place(path), hint=hint)


def in_words(recipe: Recipe | None) -> str:
    """`int4, groups of 128, bf16 scales, mse`."""
    if recipe is None:
        return "kept"
    groups = "one scale per output" if recipe.group is None else f"groups of {recipe.group}"
    zero = "" if recipe.symmetric else ", zero points"
    return f"int{recipe.bits}, {groups}, {recipe.scales.label} scales{zero}, {recipe.method}"
