"""Comparison of weights whose experts or heads are in another order.

A part that computes the same although its weights differ may hold them in another order. That the
network agrees is not enough: one wrong code in a large matrix does not show in what it computes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.core.layout import Box, whole_box
from grokpack.evaluation.network import matrices
from grokpack.evaluation.network.experts import EXPERT
from grokpack.evaluation.network.layer import KEY, OUTPUT, QUERY, ROUTER, VALUE
from grokpack.evaluation.network.matrices import Matrix, matrix
from grokpack.evaluation.network.matrix_products import MatrixTile
from grokpack.evaluation.weight_comparison import BEYOND, OTHERWISE
from grokpack.transforms.dequantize import read_as_f32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec
    from grokpack.evaluation.network.matrix_products import Lanes
    from grokpack.evaluation.part_comparison import PartComparison
    from grokpack.evaluation.weight_comparison import WeightComparer, WeightDistance
    from grokpack.models.architecture import NetworkPart

    Order = list[int]
    """For each expert or head of the first, its number in the second."""

_SAMPLE = 256  # inputs by which heads are distinguished
_ALIKE = 0.5
"""Least cosine of counterparts: it is about 1 where values were rounded, 0.99 for codes of 4 bits,
and near 0 between two heads or experts."""
_F32 = 4


class ReorderedWeightComparer:
    """Comparer of weights under the second checkpoint's order of experts and heads.

    Args:
        first: The reference.
        second: The other.
        weights: Compares values; it must have been asked for all it saw.
        lanes: Multiplies codes with their scales.
    """

    def __init__(
        self, first: Checkpoint, second: Checkpoint, weights: WeightComparer, lanes: Lanes
    ) -> None:
        self._checkpoints = first, second
        self._weights, self._lanes = weights, lanes
        self._readers = ArrayReader(first), ArrayReader(second)

    def settle(self, part: PartComparison) -> PartComparison:
        """Compare a part's weights in the second's order, if that differs.

        Weights that are equal there, or as close as the formats allow, are stored otherwise, and
        those that are not are beyond, whatever the part computes: that may show too little, or
        another difference as well. Where some weights have not gone along with the others, the
        part is returned as it is.

        Raises:
            GrokpackError: What reading raises.
        """
        unlike = [row for row in part.weights if row.state in (BEYOND, OTHERWISE)]
        if part.layer is None or not unlike:
            return part
        kinds = self._experts(part.layer) if part.name == "experts" else self._heads(part.layer)
        if all(order == list(range(len(order))) for order in kinds.values()):
            return part
        for row in part.weights:
            self._compare(row, kinds)
        found = {(row.name, row.expert): row for row in self._weights.collect()}
        stayed = {(row.name, row.expert) for row in part.weights if row not in unlike}
        if any(found[key].state == BEYOND for key in stayed & found.keys()):
            return part
        rows = (_settled(row, found.get((row.name, row.expert))) for row in part.weights)
        return replace(part, weights=tuple(rows))

    def _experts(self, layer: int) -> dict[NetworkPart, Order]:
        """Find where the second holds each expert, by the router's columns; {} if unknown."""
        routers = [values.T for values in self._whole(self._name(ROUTER, layer))]
        order = _counterparts(*routers)
        return {} if order is None else dict.fromkeys((ROUTER, *EXPERT), order)

    def _heads(self, layer: int) -> dict[NetworkPart, Order]:
        """Find where the second holds each query head and each key head.

        {} where that is unknown, or query heads do not go with the key heads that they use.
        """
        orders = [_counterparts(*self._sampled(self._name(part, layer))) for part in (QUERY, KEY)]
        queries, keys = orders
        if queries is None or keys is None:
            return {}
        shared = len(queries) // len(keys)
        if any(at // shared != keys[head // shared] for head, at in enumerate(queries)):
            return {}
        return {QUERY: queries, OUTPUT: queries, KEY: keys, VALUE: keys}

    def _name(self, part: NetworkPart, layer: int) -> str:
        """Return the name of a layer's tensor, which both checkpoints share."""
        return self._checkpoints[0].model.tensor(part, layer).name

    def _whole(self, name: str) -> list[np.ndarray]:
        """Read a small tensor of both, `f32[...]`."""
        return [
            read_as_f32(spec, whole_box(spec.values.shape), reader)
            for spec, reader in zip(self._specs(name), self._readers, strict=True)
        ]

    def _sampled(self, name: str) -> list[np.ndarray]:
        """Read some inputs of each head of both, `f32[head, n]`."""
        made = []
        for spec, reader in zip(self._specs(name), self._readers, strict=True):
            rows, columns = spec.values.shape
            values = read_as_f32(spec, Box((0, 0), (min(_SAMPLE, rows), columns)), reader)
            heads = values.reshape(len(values), -1, self._head_dim).swapaxes(0, 1)
            made.append(heads.reshape(len(heads), -1))
        return made

    def _compare(self, row: WeightDistance, kinds: dict[NetworkPart, Order]) -> None:
        """Compare the values of a weight with its counterpart's."""
        kind = row.part
        if kind not in kinds:
            return
        if kind == ROUTER:
            one, other = self._whole(row.name)
            self._weights.look_whole(row.name, one, other[:, kinds[kind]])
            return
        for pair in self._pairs(row, kind, kinds[kind]):
            for tile in self._tiles(pair):
                self._weights.look(pair[0], False, tile)  # noqa: FBT003  # nothing is transposed

    def _pairs(
        self, row: WeightDistance, kind: NetworkPart, order: Order
    ) -> Iterator[tuple[Matrix, Matrix]]:
        """Yield the matrix of each expert, or the part of each head, with its counterpart."""
        one, other = self._specs(row.name)
        if row.expert is not None:
            yield matrix(one, row.expert), matrix(other, order[row.expert])
            return
        part = _of_inputs if kind == OUTPUT else _of_outputs
        for numbers in enumerate(order):
            low, high = (n * self._head_dim for n in numbers)
            yield (
                part(one, (low, low + self._head_dim)),
                part(other, (high, high + self._head_dim)),
            )

    def _tiles(self, pair: tuple[Matrix, Matrix]) -> Iterator[MatrixTile]:
        """Yield the tiles of two matrices."""
        transposed = matrices.is_transposed(pair[1].tensor, self._readers[1])
        for rows, columns in matrices.bands(pair[0], transposed=transposed, itemsize=_F32):
            one, other = (
                matrices.read(own, rows, columns, reader)
                for own, reader in zip(pair, self._readers, strict=True)
            )
            for part in self._lanes.tiles(one):
                values = self._lanes.widened(one, *part), self._lanes.widened(other, *part)
                yield MatrixTile(*part, (one, other), values)

    def _specs(self, name: str) -> tuple[TensorSpec, TensorSpec]:
        one, other = (checkpoint.tensors[name] for checkpoint in self._checkpoints)
        return one, other

    @property
    def _head_dim(self) -> int:
        size = self._checkpoints[0].geometry.head_dim
        assert size is not None  # noqa: S101  # no network runs without
        return size


def _settled(row: WeightDistance, found: WeightDistance | None) -> WeightDistance:
    """Combine the distance of a weight with that found in the second checkpoint's order."""
    if found is None or row.state not in (BEYOND, OTHERWISE):
        return row
    return found if found.state == BEYOND else replace(row, state=OTHERWISE)


def _of_inputs(spec: TensorSpec, inputs: tuple[int, int]) -> Matrix:
    return matrix(spec, inputs=inputs)


def _of_outputs(spec: TensorSpec, outputs: tuple[int, int]) -> Matrix:
    return matrix(spec, outputs=outputs)


def _counterparts(one: np.ndarray, other: np.ndarray) -> Order | None:
    """Match each row of the first with the most similar row of the second, each used once.

    Args:
        one: `f32[row, n]`.
        other: Likewise.

    Returns:
        None where a row is like none that is left.
    """
    cosines = _directions(one) @ _directions(other).T
    order = [-1] * len(cosines)
    for _ in order:
        row, column = np.unravel_index(np.argmax(cosines), cosines.shape)
        if cosines[row, column] < _ALIKE:
            return None
        order[int(row)] = int(column)
        cosines[row, :] = cosines[:, column] = -np.inf
    return order


def _directions(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length one; zeros and NaN become zeros."""
    values = np.nan_to_num(rows, posinf=0, neginf=0)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    made: np.ndarray = np.divide(values, norms, out=np.zeros_like(values), where=norms > 0)
    return made
