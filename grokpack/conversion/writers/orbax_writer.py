"""Writer of Orbax checkpoints: xAI's pytree, each leaf a zarr 3 array in raw chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.checkpoint.readers import orbax_reader
from grokpack.conversion.writers.chunked_store_writer import (
    ChunkedArrays,
    ChunkedStoreOptions,
    rank_cuts,
    refuse_options,
    stored_tensors,
)
from grokpack.conversion.writers.writer import Writer, suffix_unless_usual
from grokpack.formats import orbax as orbax_format

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec
    from grokpack.formats.orbax import Keys
    from grokpack.models.architecture import ModelTensor
    from grokpack.planning.target import Target

_VALUES, _SCALES = "0", "1"  # leaves of xAI's QuantizedWeight8bit, a pytree node without names


def to_orbax(source: Checkpoint, options: ChunkedStoreOptions) -> Target:
    """Make the target.

    Raises:
        GrokpackError: GP346 for options that cannot be, GP307 without a fast checksum.
    """
    refuse_options(options)
    arrays = ChunkedArrays()
    leaves = []
    for entry, tensor, ops in stored_tensors(source, options.dtype):
        for name, spec in tensor.arrays().items():
            keys = _keys(entry, tensor, scales=name != entry.name)
            leaves.append(keys)
            made = spec, ops[name]
            arrays.add(name, ".".join(keys), made, rank_cuts(entry, spec, options.tp), options)
    finals = {
        orbax_format.CHECKPOINT: orbax_format.checkpoint_document(),
        orbax_format.TREE: orbax_format.tree_document(leaves),
        orbax_format.COMMIT: b"Checkpoint commit was successful\n",
    }
    return arrays.target(orbax_reader.NAME, source, finals, options)


def _keys(entry: ModelTensor, tensor: TensorSpec, *, scales: bool) -> Keys:
    """Return the keys of an array in xAI's pytree: module, parameter, leaf of the weight."""
    module, _, parameter = entry.name.rpartition("/")
    if tensor.scales is None:
        return module, parameter
    return module, parameter, _SCALES if scales else _VALUES


WRITER = Writer(
    orbax_reader.NAME,
    "checkpoint of xAI's pytree that Orbax restores, on any mesh of devices",
    ChunkedStoreOptions,
    to_orbax,
    lambda o: "-".join(
        [
            orbax_reader.NAME,
            *suffix_unless_usual(o.dtype, None),
            *suffix_unless_usual(o.compress, None),
        ]
    ),
)
