"""Policies: which weights are quantized and how, by a default and rules for role, name, layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.models import tensor_patterns
from grokpack.transforms.source_weight import SourceWeight

if TYPE_CHECKING:
    from grokpack.conversion.quantization.importance import Importance
    from grokpack.core.tensors import TensorSpec
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.family import Model
    from grokpack.transforms.quantization_scheme import QuantizationScheme

CHANNEL = "channel"
KEPT_BITS = 16
GROUPS = (32, 64, 128, 256)
BITS = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """Rule of a policy: the weights that it matches, and what it changes for them.

    Attributes:
        role: Role of the weights, for example `attention` or `expert`; None for all.
        name: Pattern of names, as `grokpack.models.tensor_patterns` understands them; None for all.
        layers: Layers of the weights; None for all.
        changes: New values of fields of the scheme; None to leave the weights unquantized.
        type: Type of a GGUF's blocks for them; None for the usual one of so many bits.
    """

    role: str | None
    name: str | None
    layers: frozenset[int] | None
    changes: dict[str, Any] | None
    type: str | None = None

    def takes(self, entry: ModelTensor) -> bool:
        """Return whether the rule matches a tensor."""
        return (
            self.role in (None, entry.rule.role)
            and (self.name is None or tensor_patterns.matches(entry, self.name))
            and (self.layers is None or entry.layer in self.layers)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Default scheme and rules. The last rule that matches a weight changes the default for it.

    Attributes:
        default: The scheme of weights that no rule matches.
        rules: The rules in order.
        importance: How much each error matters; None if all matter alike.
    """

    default: QuantizationScheme
    rules: tuple[PolicyRule, ...] = ()
    importance: Importance | None = None

    def weight(self, tensor: TensorSpec, groups: int | None) -> SourceWeight:
        """Return a weight as it is to be quantized.

        Raises:
            GrokpackError: GP344 if the calibration does not have the weight.
        """
        own = None if self.importance is None else self.importance.of(tensor)
        return SourceWeight(tensor, groups, own)

    def scheme(self, entry: ModelTensor) -> QuantizationScheme | None:
        """Return the scheme of a weight; None for one that is not quantized."""
        if not entry.rule.quantized:
            return None
        rule = self.rule_of(entry)
        if rule is None:
            return self.default
        return None if rule.changes is None else replace(self.default, **rule.changes)

    def rule_of(self, entry: ModelTensor) -> PolicyRule | None:
        """Return the last rule that matches a tensor; None for the default."""
        return next((rule for rule in reversed(self.rules) if rule.takes(entry)), None)

    def type_of(self, entry: ModelTensor) -> str | None:
        """Return the type of a GGUF's blocks that a rule names for a tensor; None if none does."""
        rule = self.rule_of(entry)
        return None if rule is None else rule.type

    def forced(self, **changes: Any) -> Policy:  # noqa: ANN401  # fields of a scheme
        """Return the policy with the fields that a format fixes."""
        rules = tuple(
            replace(rule, changes={k: v for k, v in rule.changes.items() if k not in changes})
            if rule.changes
            else rule
            for rule in self.rules
        )
        return replace(self, default=replace(self.default, **changes), rules=rules)

    def schemes(self, model: Model) -> list[tuple[ModelTensor, QuantizationScheme | None]]:
        """Return the scheme of every weight that could be quantized, in file order."""
        listed = (entry for entry in model.tensors() if entry.rule.quantized)
        return [(entry, self.scheme(entry)) for entry in listed]


def keep(pattern: str) -> PolicyRule:
    """Make the rule of `--keep`."""
    return PolicyRule(None, pattern, None, None)


def in_words(scheme: QuantizationScheme | None) -> str:
    """Describe a scheme: `int4, groups of 128, bf16 scales, mse`."""
    if scheme is None:
        return "kept"
    if scheme.numbers in ("mxfp4", "nvfp4"):
        return f"{scheme.numbers}, {scheme.method}"
    groups = "one scale per output" if scheme.group is None else f"groups of {scheme.group}"
    if scheme.outputs > 1:
        groups = f"blocks of {scheme.group} x {scheme.outputs}"
    codes = f"int{scheme.bits}" if scheme.numbers == "int" else scheme.numbers
    zero = "" if scheme.symmetric else ", zero points"
    return f"{codes}, {groups}, {scheme.scales.label} scales{zero}, {scheme.method}"
