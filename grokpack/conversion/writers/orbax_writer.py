"""Writer of Orbax checkpoints: a pytree, each leaf of which is a zarr 3 array in raw chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.checkpoint.readers import orbax_reader
from grokpack.conversion.writers.chunked_store_writer import (
    ChunkedArrays,
    ChunkedStoreOptions,
    refuse_options,
)
from grokpack.conversion.writers.store_arrays import store_arrays
from grokpack.conversion.writers.writer_row import Writer, suffix_unless_usual
from grokpack.formats import orbax as orbax_format

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.store_arrays import TargetArray
    from grokpack.formats.orbax import Keys
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
    for own in store_arrays(source, options.dtype):
        keys = _keys(own)
        leaves.append(keys)
        made = own.spec, own.op
        arrays.add(own.name, ".".join(keys), made, own.rank_cuts(options.tp), options)
    finals = {
        orbax_format.CHECKPOINT: orbax_format.checkpoint_document(),
        orbax_format.TREE: orbax_format.tree_document(leaves),
        orbax_format.COMMIT: b"Checkpoint commit was successful\n",
    }
    return arrays.target(orbax_reader.NAME, source, finals, options)


def _keys(own: TargetArray) -> Keys:
    """Return an array's keys in the pytree: module, if names have one, parameter, leaf."""
    module, _, parameter = own.owner.rpartition("/")
    weight = (module, parameter) if module else (parameter,)
    if own.tensor.scales is None:
        return weight
    return *weight, _SCALES if own.of_scales else _VALUES


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
