"""Findings about the files of a ckpt-0 folder: names, sizes, framing, shapes, scale groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from grokpack.checkpoint.readers.shape_checks import other_dtype, other_groups, other_shape
from grokpack.core.errors import MalformedInput, TrailingBytes, UnsafePickle
from grokpack.core.finding import Finding
from grokpack.core.layout import whole_box
from grokpack.core.tensors import ArraySpec, DType, TensorSpec
from grokpack.formats import ckpt0, pickle
from grokpack.models import partition
from grokpack.models.geometry_inference import stored_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.errors import GrokpackError
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.family import Model


class FolderListing(Protocol):
    """The parts of a folder listing that the checks use."""

    failed: dict[tuple[int, int], GrokpackError]
    sizes: dict[str, int]
    stray: list[str]

    @property
    def present(self) -> set[tuple[int, int]]:
        """Tensor index and host of every existing file."""


def check_names(
    files: FolderListing, entries: tuple[ModelTensor, ...], hosts: int
) -> list[Finding]:
    """Return findings for missing files, and for files that belong to no tensor of the model."""
    present = files.present
    findings = [
        Finding("GP101", "file is missing", ckpt0.file_name(entry.index, host), entry.name)
        for entry in entries
        for host in range(hosts)
        if (entry.index, host) not in present
    ]
    extra = [
        ckpt0.file_name(*key)
        for key in sorted(present)
        if key[0] >= len(entries) or key[1] >= hosts
    ]
    message = "no tensor of this model has a file of that name"
    return findings + [Finding("GP102", message, name) for name in files.stray + extra]


def check_failures(
    files: FolderListing, entries: tuple[ModelTensor, ...], model: Model | None, hosts: int
) -> list[Finding]:
    """Return findings for unreadable headers: truncated, too long, hostile or broken.

    Of files that belong to no tensor of the model, only the hostile ones are reported.
    """
    found = []
    for key, error in sorted(files.failed.items()):
        belongs = key[0] < len(entries) and key[1] < hosts
        if belongs or isinstance(error, UnsafePickle):
            size = files.sizes[ckpt0.file_name(*key)]
            expected = _expected_file(entries, key, model, hosts) if belongs else (None, None)
            found.append(_failure(key, error, size, expected))
    return found


def _expected_file(
    entries: tuple[ModelTensor, ...], key: tuple[int, int], model: Model | None, hosts: int
) -> tuple[str, int | None]:
    """Return the name of a file's tensor, and the size that the file should have."""
    entry = entries[key[0]]
    if model is None:
        return entry.name, None
    arrays = model.spec(entry).arrays()
    shares = partition.shares(model.geometry, entry, arrays, hosts, "jax")
    specs = []
    for name, array in arrays.items():
        share = shares[name]
        box = share[0] if share else whole_box(array.shape)
        specs.append(ArraySpec(box.shape, array.dtype))
    return entry.name, pickle.frame(specs[0], specs[1] if len(specs) > 1 else None).nbytes


def _failure(
    key: tuple[int, int], error: GrokpackError, size: int, expected: tuple[str | None, int | None]
) -> Finding:
    name, nbytes = expected
    file = ckpt0.file_name(*key)
    facts = dict(error.facts)
    if isinstance(error, UnsafePickle):
        return Finding(error.code, error.what, file, name, facts.get("allowed"), facts.get("found"))
    if nbytes is not None and size < nbytes and isinstance(error, MalformedInput):
        return Finding(
            "GP103",
            "file ends before its tensor does",
            file,
            name,
            f"{nbytes:,} bytes",
            f"{size:,} bytes ({nbytes - size:,} missing)",
        )
    if nbytes is not None and size > nbytes and isinstance(error, TrailingBytes):
        return Finding(
            "GP104",
            "file goes on after its tensor ended",
            file,
            name,
            f"{nbytes:,} bytes",
            f"{size:,} bytes",
        )
    byte = error.where.byte if error.where else None
    at = "" if byte is None else f" (byte {byte:,})"
    return Finding(
        "GP111" if isinstance(error, MalformedInput) else error.code,
        error.what + at,
        file,
        name,
        facts.get("expected"),
        facts.get("found"),
    )


def check_shapes(tensors: Mapping[int, TensorSpec], model: Model) -> list[Finding]:
    """Return findings for tensors that do not fit their position in the model."""
    entries = model.tensors()
    rows = stored_groups([(entries[i], t) for i, t in tensors.items()])
    wrong = {
        i: finding
        for i, tensor in tensors.items()
        if (finding := _misfit(entries[i], tensor, model, rows))
    }
    for index in wrong:
        for other in wrong:
            if other != index and _swapped(tensors, model, rows, index, other):
                wrong[index] = _swap_finding(entries, index, other)
    return list(wrong.values())


def _misfit(
    entry: ModelTensor, tensor: TensorSpec, model: Model, rows: int | None
) -> Finding | None:
    file, name = ckpt0.file_name(entry.index), entry.name
    released = model.spec(entry)
    shape = released.values.shape
    if tensor.values.shape != shape:
        return other_shape(shape, tensor.values.shape, name, file)
    scaled = released.scales is not None
    if scaled != (tensor.scales is not None):
        kinds = "weight with scales", "plain array"
        expected, found = kinds if scaled else reversed(kinds)
        what = "tensor is stored in another kind than its place asks for"
        return Finding("GP106", what, file, name, expected, found)
    dtype = released.values.dtype
    if tensor.values.dtype not in ((dtype, DType.BF16) if scaled else (dtype,)):
        return other_dtype(dtype, tensor.values.dtype, name, file)
    return _misfit_scales(entry, tensor, shape, rows)


def _misfit_scales(
    entry: ModelTensor, tensor: TensorSpec, shape: tuple[int, ...], rows: int | None
) -> Finding | None:
    if tensor.scales is None:
        return None
    groups = (rows or shape[-2]) if entry.rule.cut == "rows" else 1
    expected = (*shape[:-2], groups, shape[-1])
    file = ckpt0.file_name(entry.index)
    if tensor.scales.dtype is not DType.BF16:
        return Finding(
            "GP106",
            "scales have another dtype than the release's",
            file,
            entry.name,
            "bf16",
            tensor.scales.dtype.label,
        )
    if tensor.scales.shape != expected or shape[-2] % groups:
        return other_groups(str(expected), tensor.scales.shape, entry.name, file)
    return None


def _swapped(
    tensors: Mapping[int, TensorSpec], model: Model, rows: int | None, one: int, other: int
) -> bool:
    """Return whether each of two tensors fits the other's position."""
    entries = model.tensors()
    return (
        _misfit(entries[one], tensors[other], model, rows) is None
        and _misfit(entries[other], tensors[one], model, rows) is None
    )


def _swap_finding(entries: tuple[ModelTensor, ...], index: int, other: int) -> Finding:
    file, held = ckpt0.file_name(index), ckpt0.file_name(other)
    return Finding(
        "GP108",
        f"file holds the tensor of {held}: the two look swapped",
        file,
        entries[index].name,
        entries[index].name,
        f"shapes of {entries[other].name}",
    )
