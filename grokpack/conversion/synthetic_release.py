"""Synthetic releases in the two forms that xAI has released: pickles, and a file for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.checkpoint import companion_files
from grokpack.checkpoint.layouts import ckpt0_layout, kind_files_layout
from grokpack.conversion import synthetic_tokenizer, synthetic_weights
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Layout
from grokpack.core.tensors import ArraySpec
from grokpack.formats import ckpt0 as ckpt0_format
from grokpack.models import config_json, tensor_names
from grokpack.planning.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.conversion.synthetic_weights import SyntheticWeights
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.family import Model
    from grokpack.models.tensor_names import Convention
    from grokpack.transforms.protocols import LazyArray

_LICENSE = b"Weights of random numbers: the text of the release's licence would be here.\n"


def target(model: Model, weights: SyntheticWeights, *, sparse: bool) -> Target:
    """Make the target of a model's weights in the layout of its family's release.

    Args:
        model: The model.
        weights: Maker of its arrays.
        sparse: True for zeros that take no disk space.

    Raises:
        GrokpackError: GP306 for a family whose release has another form, GP305 for weights that
            the ranks of the release cannot share.
    """
    released = model.family.release_layout
    if released.format == ckpt0_format.NAME:
        return _pickles(model, weights, sparse=sparse)
    if released.stem:
        return _kind_files(model, weights, sparse=sparse)
    what = f"the release of {model.family.title} is no {ckpt0_format.NAME}"
    raise GrokpackError("GP306", what)


def _pickles(model: Model, weights: SyntheticWeights, *, sparse: bool) -> Target:
    """Make the target of a ckpt-0."""
    file_groups = []
    arrays: dict[str, ArraySpec] = {}
    made: dict[str, LazyArray] = {}
    for entry in model.tensors():
        tensor, geometry = model.spec(entry), model.geometry
        arrays |= tensor.arrays()
        file_groups.append(
            ckpt0_layout.lay_out_tensor(f"{ckpt0_format.FOLDER}/", geometry, entry, tensor, 1)
        )
        made |= weights.weights(entry, tensor)
    if sparse:
        made = synthetic_weights.zeros(arrays)
    finals = {config_json.FILE: config_json.render(model, {})}
    layout = Layout(arrays, tuple(file_groups))
    return Target(ckpt0_format.NAME, layout, made, finals, sparse=sparse)


def _kind_files(model: Model, weights: SyntheticWeights, *, sparse: bool) -> Target:
    """Make the target of files that hold one kind of tensor each, with what lies beside them."""
    family, geometry = model.family, model.geometry
    convention, ranks = next(iter(family.conventions.values())), family.release_layout.ranks
    if geometry.ffn % ranks:
        what = f"{ranks} ranks, as the release has, do not share experts {geometry.ffn} wide"
        raise GrokpackError("GP305", what)
    arrays: dict[str, ArraySpec] = {}
    made: dict[str, LazyArray] = {}
    for name, array, entry in _matrices(model, convention):
        arrays[name] = array
        across = tensor_names.rank_axis(convention, name) == -1
        made[name] = (
            weights.in_slices(name, array, ranks, entry)
            if across
            else weights.floats(name, array, entry)
        )
    finals = {
        config_json.FILE: config_json.render(model, {}),
        companion_files.LICENSE: _LICENSE,
        **synthetic_tokenizer.files(geometry.vocab),
    }
    return Target(
        family.release_layout.format,
        kind_files_layout.lay_out(family, convention, arrays, ranks),
        synthetic_weights.zeros(arrays) if sparse else made,
        finals,
        sparse=sparse,
    )


def _matrices(model: Model, convention: Convention) -> Iterator[tuple[str, ArraySpec, ModelTensor]]:
    """Yield name and form of every array as engines have it, with its tensor."""
    for entry in model.tensors():
        array = model.spec(entry).values
        shape = array.shape[1:] if entry.rule.stacked else array.shape
        turned = shape[::-1] if entry.rule.matrix else shape
        for expert in range(model.geometry.experts) if entry.rule.stacked else (None,):
            yield convention.of(entry, expert), ArraySpec(turned, array.dtype), entry
