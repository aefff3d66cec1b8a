"""Allocation of bits: a form for each weight, so that the error is least at a size.

The error of every form that a weight can have is measured on samples, multiplied by the weight's
share in the error of what the network says, and all of them go into a knapsack. What comes out are
rules of a policy, from which the same output is made without measuring again.
"""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.conversion.quantization import knapsack, policy_file, sampled_errors
from grokpack.conversion.quantization.error_share import error_shares
from grokpack.conversion.quantization.knapsack import Option
from grokpack.conversion.quantization.policy import PolicyRule
from grokpack.core.byte_size import byte_size
from grokpack.core.errors import GrokpackError
from grokpack.core.events import Advanced, Finished, Listener, Started, ignore_event
from grokpack.kernels.dispatch import choose_implementation
from grokpack.storage.reading_threads import threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.knapsack import Choice
    from grokpack.conversion.quantization.sampled_errors import SampledErrors, Trial
    from grokpack.core.documents.plan_json import AllocationJson
    from grokpack.models.architecture import ModelTensor
    from grokpack.transforms.source_weight import SourceWeight

    Rules = tuple[PolicyRule, ...]

_SEARCHING = 32
"""Factor by which searches for scales take longer than the kernels after which implementations are
chosen by their input."""


@dataclass(frozen=True, slots=True)
class WeightForm:
    """Form that weights can have in an output.

    Attributes:
        label: Its name: `q4_k`, `int4`, `bf16`.
        nbytes: Bytes of all weights of the unit in this form.
        trial: Makes it of a sample.
        changes: Fields that a policy's rule changes for it; None to leave weights unquantized.
        type: Type of a GGUF's blocks; None for other formats.
    """

    label: str
    nbytes: int
    trial: Trial
    changes: Mapping[str, Any] | None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Weights that get one form.

    Attributes:
        weights: The weights, each with its place in the model.
        forms: Forms that all of them can have.
        whole_columns: True if a scale belongs to all inputs of an output.
    """

    weights: tuple[tuple[ModelTensor, SourceWeight], ...]
    forms: tuple[WeightForm, ...]
    whole_columns: bool = False


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """Size that an output may have.

    Attributes:
        nbytes: Bytes that it may have.
        size_of: Returns the bytes of the output that some rules give.
    """

    nbytes: int
    size_of: Callable[[Rules], int]


@dataclass(frozen=True, slots=True)
class Allocation:
    """Forms that were chosen.

    Attributes:
        rules: Rules of a policy that give them.
        account: What was measured and chosen, as JSON values.
        notes: The choice in words.
    """

    rules: Rules
    account: AllocationJson
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Measured:
    """Unit with the share and the errors of each of its weights, and its options."""

    unit: Unit
    shares: tuple[float, ...]
    errors: tuple[SampledErrors, ...]

    def options(self) -> list[Option]:
        """Return bytes and counted error of each form."""
        rows = [*zip(self.shares, self.errors, strict=True)]
        return [
            Option(form.nbytes, sum(share * own.relative[form.label] for share, own in rows))
            for form in self.unit.forms
        ]


def allocate(
    source: Checkpoint,
    units: Sequence[Unit],
    budget: SizeLimit,
    given: Rules = (),
    listen: Listener = ignore_event,
) -> Allocation:
    """Choose a form for each unit.

    Args:
        source: The checkpoint to quantize.
        units: Weights with their forms.
        budget: The size.
        given: Rules that decide other weights; they come after those that are chosen.
        listen: Receives progress.

    Raises:
        GrokpackError: GP309 where even the smallest forms take more.
    """
    measured = _measure(source, units, listen)
    options = [one.options() for one in measured]
    smallest = knapsack.smallest(options)
    beside = budget.size_of((*_rules(source, measured, smallest), *given)) - smallest.nbytes
    room = budget.nbytes - beside
    while (choice := knapsack.choose(options, room)) is not None:
        rules = (*_rules(source, measured, choice), *given)
        excess = budget.size_of(rules) - budget.nbytes
        if excess <= 0:
            account = _account(measured, choice, budget, rules)
            return Allocation(rules, account, tuple(_notes(measured, choice, account)))
        room -= excess  # headers may be longer than with the smallest forms
    raise _too_small(source, budget.nbytes, beside + smallest.nbytes)


def _measure(source: Checkpoint, units: Sequence[Unit], listen: Listener) -> list[_Measured]:
    """Measure the errors of every form, several units at a time."""
    reader = ArrayReader(source)
    shares = error_shares(source, reader)
    work = [min(sampled_errors.SAMPLED, _weights(unit)) * len(unit.forms) for unit in units]
    implementation = choose_implementation(_SEARCHING * sum(work))
    listen(Started("measure", sum(work)))

    def measured(unit: Unit) -> _Measured:
        trials = {form.label: form.trial for form in unit.forms}
        errors = tuple(
            sampled_errors.measure(
                weight, trials, reader, implementation, whole_columns=unit.whole_columns
            )
            for _, weight in unit.weights
        )
        return _Measured(unit, tuple(shares[entry.name] for entry, _ in unit.weights), errors)

    found = []
    with ThreadPoolExecutor(threads(source.folder)) as pool:
        for one, amount in zip(pool.map(measured, units), work, strict=True):
            found.append(one)
            listen(Advanced(amount))
    listen(Finished("measure", 0.0))
    return found


def _weights(unit: Unit) -> int:
    return sum(weight.tensor.values.elements for _, weight in unit.weights)


def _rules(source: Checkpoint, measured: Sequence[_Measured], choice: Choice) -> Rules:
    """Return a rule for each kind of tensor and form, with its layers."""
    layers: dict[tuple[str, str], list[int | None]] = {}
    forms: dict[str, WeightForm] = {}
    for form, entry, _ in _chosen(measured, choice):
        layers.setdefault((entry.rule.path, form.label), []).append(entry.layer)
        forms[form.label] = form
    every = [*range(source.geometry.layers)]
    return tuple(
        PolicyRule(
            None,
            path,
            None if own in ([None], every) else frozenset(n for n in own if n is not None),
            None if changes is None else dict(changes),
            forms[label].type,
        )
        for (path, label), own in layers.items()
        for changes in [forms[label].changes]
    )


def _chosen(
    measured: Sequence[_Measured], choice: Choice
) -> Iterator[tuple[WeightForm, ModelTensor, SourceWeight]]:
    """Yield the form of each weight."""
    for one, at in zip(measured, choice.options, strict=True):
        for entry, weight in one.unit.weights:
            yield one.unit.forms[at], entry, weight


def _account(
    measured: Sequence[_Measured], choice: Choice, budget: SizeLimit, rules: Rules
) -> AllocationJson:
    """Return what was measured and chosen, as JSON values."""
    forms = {entry.name: form.label for form, entry, _ in _chosen(measured, choice)}
    return {
        "limit_bytes": budget.nbytes,
        "relative_error": _root(choice.error),
        "least_error": _root(choice.bound),
        "weights": sum(_weights(one.unit) for one in measured),
        "measured_weights": sum(own.weights for one in measured for own in one.errors),
        "policy": policy_file.render(rules),
        "tensors": {
            entry.name: {
                "form": forms[entry.name],
                "share": share,
                "errors": {label: _root(error) for label, error in own.relative.items()},
            }
            for one in measured
            for (entry, _), share, own in zip(one.unit.weights, one.shares, one.errors, strict=True)
        },
    }


def _root(squared: float) -> float:
    """Return a relative error, rounded to six digits."""
    return float(f"{math.sqrt(squared):.6g}")


def _notes(measured: Sequence[_Measured], choice: Choice, account: AllocationJson) -> Iterator[str]:
    """Say which forms each role has, and what error is expected."""
    mixes: dict[str, Counter[str]] = {}
    bits: dict[str, list[int]] = {}
    for one, at in zip(measured, choice.options, strict=True):
        form, role = one.unit.forms[at], one.unit.weights[0][0].rule.role
        mixes.setdefault(role, Counter())[form.label] += len(one.unit.weights)
        taken = bits.setdefault(role, [0, 0])
        taken[0] += 8 * form.nbytes
        taken[1] += _weights(one.unit)
    for name, mix in mixes.items():
        taken = bits[name]
        listed = ", ".join(f"{label} {count}" for label, count in sorted(mix.items()))
        yield f"{name} chosen at {taken[0] / taken[1]:.2f} bits a weight: {listed}"
    yield (
        f"expected relative error of the logits {account['relative_error']:.4g}; no choice of this "
        f"size is below {account['least_error']:.4g}"
    )
    if account["measured_weights"] < account["weights"]:
        share = account["measured_weights"] / account["weights"]
        yield f"errors were measured on {share:.2%} of the weights, in samples of every tensor"


def _too_small(source: Checkpoint, nbytes: int, least: int) -> GrokpackError:
    bits = 8 * least / source.model.parameters().total
    facts = (
        ("asked for", f"{nbytes:,} bytes"),
        ("least", f"{least:,} bytes, {bits:.2f} bits per parameter"),
    )
    what = f"{byte_size(nbytes)} are less than the smallest forms take"
    hint = f"--avg-bits {math.ceil(100 * bits) / 100:.2f}, or --size {least}B"
    return GrokpackError("GP309", what, None, facts, hint)
