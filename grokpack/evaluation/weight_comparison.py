"""Comparison of two checkpoints' weights, as values, while a network streams them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack.checkpoint import manifest_file, manifest_paths
from grokpack.evaluation.tolerance import Distance, Side, form_of, measure_distance, merge_distances

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import Shape
    from grokpack.evaluation.network.matrices import Matrix
    from grokpack.evaluation.network.matrix_products import MatrixTile
    from grokpack.evaluation.tolerance import Form
    from grokpack.kernels.dispatch import Implementation
    from grokpack.models.architecture import NetworkPart

EQUAL, WITHIN, BEYOND = "equal", "within", "beyond"
OTHERWISE = "otherwise"
"""State of a weight that is stored differently but gives the same results."""
_FAR = 1.5
"""Largest error of a tensor as a multiple of its recorded one. Against its own source that is 1.00;
the rest is for a first checkpoint whose values were rounded."""
_ROUNDED = 2e-3  # relative error of a rounding to bfloat16


@dataclass(frozen=True, slots=True)
class WeightDistance:
    """Distance of a weight, or of one expert of it, from its counterpart.

    Attributes:
        name: The family's name of the weight.
        part: The part of the network.
        expert: The expert; None where there is no stack.
        state: `equal`, `within` what the formats allow, or `beyond` it; `otherwise` where it is
            beyond and computes the same.
        expected: What the formats allow, in words.
        elements: Number of compared values.
        differing: Number of values that are not equal.
        beyond: Number of values further apart than the formats allow.
        relative: Relative error: root of the sum of squared differences, divided by the root of the
            sum of the first's squares.
        allowed: Relative error that the formats allow, where values are not equal.
        largest: Largest absolute difference.
        first: Index of the first value beyond; None without one.
    """

    name: str
    part: NetworkPart
    expert: int | None
    state: str
    expected: str
    elements: int
    differing: int
    beyond: int
    relative: float
    allowed: float
    largest: float
    first: Shape | None


class WeightComparer:
    """Comparer of two checkpoints' weights as they stream; used by several threads.

    Args:
        first: The reference.
        second: The other.
        implementation: Implementation of the kernel that compares.
    """

    def __init__(
        self, first: Checkpoint, second: Checkpoint, implementation: Implementation = "numpy"
    ) -> None:
        self._implementation: Implementation = implementation
        self._family = first.model.family
        ours, theirs = _forms(first), _forms(second)
        self._recorded = _recorded_errors(first), _recorded_errors(second)
        self._forms = {name: (ours[name], theirs[name]) for name in ours}
        self._found: dict[tuple[str, int | None], list[Distance]] = {}

    def look(self, matrix: Matrix, transposed: bool, tile: MatrixTile) -> None:  # noqa: FBT001
        """Compare a part of a matrix."""
        name, band = matrix.tensor.name, tile.bands[0]
        corner = tile.rows[0] - band.rows[0], tile.columns[0] - band.columns[0]
        one, other = (
            Side(values, form, own, corner)
            for values, form, own in zip(tile.values, self._forms[name], tile.bands, strict=True)
        )
        found = measure_distance(one, other, self._implementation)
        if found.at is not None:
            row, column = tile.rows[0] + found.at[0], tile.columns[0] + found.at[1]
            if transposed:
                row, column = column, row
            place = matrix.box((row, row + 1), (column, column + 1)).start
            found = replace(found, at=place)
        self._found.setdefault((name, matrix.expert), []).append(found)

    def look_whole(self, name: str, one: np.ndarray, other: np.ndarray) -> None:
        """Compare a small tensor."""
        columns = one.shape[-1] if one.ndim > 1 else 1
        one_side, other_side = (
            Side(values.reshape(-1, columns), form)
            for values, form in zip((one, other), self._forms[name], strict=True)
        )
        found = measure_distance(one_side, other_side, self._implementation)
        if found.at is not None and one.ndim == 1:
            found = replace(found, at=found.at[:1])
        self._found.setdefault((name, None), []).append(found)

    def collect(self) -> list[WeightDistance]:
        """Return the distances found since the last call, weight by weight."""
        seen, self._found = self._found, {}
        parts: dict[str, list[Distance]] = {}
        for (name, _), distances in seen.items():
            parts.setdefault(name, []).extend(distances)
        excess = {
            name: self._excess(name, merge_distances(distances))
            for name, distances in parts.items()
        }
        rows = (
            _summed((name, self._family.rule_of(name).part, expert), self._forms[name], distances)
            for (name, expert), distances in seen.items()
        )
        return [
            replace(row, state=BEYOND, expected=excess[row.name])
            if excess[row.name] and row.state == WITHIN
            else row
            for row in rows
        ]

    def _excess(self, name: str, whole: Distance) -> str:
        """Describe how far a tensor exceeds its recorded quantization error; "" if it does not."""
        coded = [
            errors.get(name)
            for form, errors in zip(self._forms[name], self._recorded, strict=True)
            if form.bits is not None
        ]
        known = [error for error in coded if error is not None]
        if not known or len(known) < len(coded):
            return ""
        rounded = max(form.narrow is not None for form in self._forms[name]) * _ROUNDED
        recorded = math.hypot(*known, rounded)
        if _share(whole.errors, whole) <= _FAR * recorded:
            return ""
        return f"relative error {recorded:.3g} by the account of its quantization"


def _summed(
    weight: tuple[str, NetworkPart, int | None],
    forms: tuple[Form, Form],
    distances: Sequence[Distance],
) -> WeightDistance:
    """Sum up one weight's distances."""
    whole = merge_distances(distances)
    return WeightDistance(
        *weight,
        BEYOND if whole.beyond else WITHIN if whole.differing else EQUAL,
        _expected(forms),
        whole.elements,
        whole.differing,
        whole.beyond,
        _share(whole.errors, whole),
        _share(whole.allowed, whole),
        whole.largest,
        whole.at,
    )


def _share(errors: float, whole: Distance) -> float:
    """Compute the relative error of a weight from the parts that are not equal."""
    if not errors:
        return 0.0
    if not whole.squares:
        return math.inf
    return math.sqrt(errors / whole.squares * whole.judged / whole.elements)


def _expected(forms: tuple[Form, Form]) -> str:
    """Describe what two forms allow."""
    titles = [form.title for form in forms if form.title]
    if not titles or (forms[0] == forms[1] and forms[0].bits is None):
        return "equal values"
    return f"within {' and '.join(dict.fromkeys(titles))}"


def _forms(checkpoint: Checkpoint) -> dict[str, Form]:
    """Return the form of every tensor of a checkpoint."""
    requantized = _recorded_errors(checkpoint)
    return {t.name: form_of(checkpoint, t, requantized) for t in checkpoint.tensors.values()}


def _recorded_errors(checkpoint: Checkpoint) -> dict[str, float | None]:
    """Return the relative error of each tensor that the manifest says was quantized.

    All that it excuses is half a step of their own codes, in a forged one as well.
    """
    path = manifest_paths.present(checkpoint)
    statistics = None if path is None else manifest_file.load_file(path).get("account")
    tensors = statistics.get("tensors") if isinstance(statistics, dict) else None
    if not isinstance(tensors, dict):
        return {}
    return {name: _figure(own) for name, own in tensors.items()}


def _figure(statistics: object) -> float | None:
    """Return the relative error in a tensor's error statistics, or None."""
    error = statistics.get("relative_error") if isinstance(statistics, dict) else None
    return float(error) if isinstance(error, int | float) else None
