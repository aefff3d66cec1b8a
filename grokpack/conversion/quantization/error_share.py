"""Share of each weight in the error of what a network says, from the norms of the checkpoint.

Both halves of a layer add to the residual stream what a norm has scaled, whatever the magnitude of
the half's own weights. So a relative error of a weight is one of what its half adds, and the share
of that in the stream is the mean square of the half's norm, by that of all that was added so far.
Later layers work on a stream with this error, and what they add has it at the same relative size.
The embedding begins the stream; the head turns it into logits, which have its error whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.layout import Box, whole_box
from grokpack.models import hyperparameters
from grokpack.transforms.dequantize import read_as_f32

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec
    from grokpack.models.architecture import NetworkPart
    from grokpack.transforms.array_source import ArraySource

    Half = tuple[int, str]
    """Layer, and `attention` or `experts`."""

_NORMS: dict[str, NetworkPart] = {
    "attention": "post_attention_norm",
    "experts": "post_expert_norm",
}
"""Norms of what each half of a layer adds, in the order of the halves."""
_ROWS = 256  # of the embedding, from which its mean square is taken


def error_shares(source: Checkpoint, reader: ArraySource) -> dict[str, float]:
    """Return how much a relative squared error counts, by name of the weight.

    Args:
        source: The checkpoint, of which norms and some rows of the embedding are read.
        reader: The source of values.
    """
    family, found = source.model.family, {}
    shares = _shares_of_halves(source, reader)
    together = 2 if family.find("mlp_down") else 1  # a dense MLP and the experts share a norm
    for entry in source.model.tensors():
        if entry.rule.by_token:
            found[entry.name] = 2.0 if family.tied else 1.0
        elif entry.layer is not None and entry.rule.quantized:
            attends = entry.rule.role == "attention"
            own = shares[entry.layer, "attention" if attends else "experts"]
            found[entry.name] = own if attends else own / together
    return found


def _shares_of_halves(source: Checkpoint, reader: ArraySource) -> dict[Half, float]:
    """Return the share of each half in the stream after it, in the order of the computation."""
    by_part = {(entry.layer, entry.rule.part): entry.name for entry in source.model.tensors()}
    stream, shares = _embedded(source, reader), {}
    for layer in range(source.geometry.layers):
        for half, part in _NORMS.items():
            name = by_part.get((layer, part))
            added = 1.0 if name is None else _mean_square(source.tensors[name], reader)
            stream += added
            shares[layer, half] = float(f"{added / stream:.6g}") if stream else 0.0
    return shares


def _mean_square(tensor: TensorSpec, reader: ArraySource) -> float:
    values = read_as_f32(tensor, whole_box(tensor.values.shape), reader)
    return float(np.square(values, dtype=np.float64).mean())


def _embedded(source: Checkpoint, reader: ArraySource) -> float:
    """Return the mean square of the stream before the first layer."""
    tensor = source.tensors[source.model.tensor("embedding").name]
    vocab, width = tensor.values.shape
    rows = range(0, vocab, max(1, vocab // _ROWS))
    squares = [
        np.square(read_as_f32(tensor, Box((row, 0), (1, width)), reader), dtype=np.float64).mean()
        for row in rows
    ]
    factor = hyperparameters.read(source.config, source.model).embedding_multiplier
    return float(np.mean(squares)) * factor**2
