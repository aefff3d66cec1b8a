"""Reader of safetensors for tensor-parallel ranks: a folder per rank, and a common one.

    rank-003-of-008/model-00001-of-00009.safetensors   this rank's slices
    common/model-00001-of-00001.safetensors            norms and routers, whole
    grokpack.index.json                                geometry, width, and every tensor's location

Tensor names are the family's own; scales are `<name>/scales`. 4-bit codes are `<name>/codes`,
two to a byte, with zero points in `<name>/zeros`. A rank loads its own folder and `common`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint import config_file, manifest_file
from grokpack.checkpoint.checkpoint import Checkpoint, Survey
from grokpack.checkpoint.layouts.tp_safetensors_layout import (
    INDEX,
    NAME,
    SCHEMA,
    StoredTensor,
    lay_out,
)
from grokpack.checkpoint.readers import shape_checks, weight_files
from grokpack.checkpoint.readers.packed_weights import values_of
from grokpack.checkpoint.readers.reader_row import Reader
from grokpack.core.errors import (
    NO_FAULT_OF_FILES,
    GrokpackError,
    MalformedInput,
    OtherFormat,
    Place,
    UnfinishedOutput,
)
from grokpack.core.finding import Finding
from grokpack.core.layout import ArraySlice, FileLayout, Layout, Literal
from grokpack.core.tensors import (
    ArraySpec,
    DType,
    Packing,
    TensorSpec,
    codes_name,
    scales_name,
    zeros_name,
)
from grokpack.formats import file_recognition, safetensors
from grokpack.formats.header_allowance import Allowance
from grokpack.models import config_json, partition, registry
from grokpack.models.architecture import Geometry
from grokpack.models.family import Model
from grokpack.transforms.copies import Copy
from grokpack.transforms.packed_views import UnsignedCodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.models.architecture import ModelTensor
    from grokpack.transforms.protocols import LazyArray

_FLOATS = (DType.BF16, DType.F16, DType.F32)
_RANK = re.compile(r"rank-(\d{3})-of-(\d{3})")


def is_store(folder: str) -> bool:
    """Return whether a folder has an index or folders of ranks."""
    return any(name == INDEX or _RANK.fullmatch(name) for name in storage.names(folder))


def survey(folder: str, head_dim: int | None = None) -> Survey:
    """Read the index and every header of a folder of ranks.

    Args:
        folder: The folder of the index.
        head_dim: Head size, if the index does not give it, as it does unless edited.

    Raises:
        GrokpackError: GP212 if there is no index yet, GP209 if it is broken.
    """
    path = os.path.join(folder, INDEX)
    if not storage.exists(path):
        raise UnfinishedOutput(
            "no index: the run that writes this folder is not finished",
            Place(path),
            hint="run the command that began it once more",
        )
    model, stored, ranks, bits = _parse_index(path, head_dim)
    layout = lay_out(model, stored, ranks)
    kept, findings = _check_files(folder, layout)
    findings += _strangers(folder, {file.path for file in layout.files()})
    settings, told = config_file.find([folder])
    findings += shape_checks.contradictions(
        settings, model, there=told is not None, head_size_known=True
    )
    framings = manifest_file.framings(manifest_file.load(folder))
    packings = {one.name: one for one in stored if isinstance(one, Packing)}
    tensors = {t.name: t.tensor if isinstance(t, Packing) else t for t in stored}
    views = {name: _values(packing) for name, packing in packings.items()}
    checkpoint = Checkpoint(
        folder,
        folder,
        NAME,
        model,
        tensors,
        kept,
        ranks,
        settings,
        framings,
        views=views,
        bits=bits,
        packings=packings,
    )
    count = sum(map(len, layout.file_groups))
    return Survey(folder, NAME, count, tuple(findings), checkpoint, count_source=INDEX)


def _values(packing: Packing) -> LazyArray:
    """Return the lazy array of a packed weight's values, from its own arrays."""
    own = {name: Copy(name) for name in packing.arrays()}
    codes, zeros = own[codes_name(packing.name)], own.get(zeros_name(packing.name))
    unsigned = UnsignedCodes(codes, zeros, packing.bits, packing.per_group)
    return values_of(packing, unsigned, own[scales_name(packing.name)])


def _parse_index(
    path: str, head_dim: int | None
) -> tuple[Model, list[StoredTensor], int, dict[str, int]]:
    document = storage.read_json(path)
    try:
        if document["schema"] != SCHEMA:
            raise ValueError(document["schema"])
        numbers = {"mlp": None, **document["geometry"]}
        numbers = {name: numbers[name] for name in Geometry.__slots__}
        stored_size = _size(numbers["head_dim"], "head_dim")
        numbers["head_dim"] = config_json.agreed_head_dim(head_dim, stored_size)
        geometry = Geometry(**{name: _size(n, name) for name, n in numbers.items()})
        arrays = {
            name: ArraySpec(tuple(_size(n, name) for n in row["shape"]), DType(row["dtype"]))
            for name, row in document["arrays"].items()
        }
        ranks = _size(document["ranks"], "ranks")
        bits = {n: _size(b, n) for n, b in document.get("bits", {}).items()}
        model = Model(registry.by_paths(arrays), geometry)
        stored = _stored(model, arrays, bits)
        known = {one.name for one in stored}
        bits = {name: number for name, number in bits.items() if name in known}
        if partition.remainders(geometry, ranks):
            raise ValueError(ranks)
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError) as error:
        raise MalformedInput(f"the index is broken: {error}", Place(path)) from error
    return model, stored, ranks, bits


_LARGEST_SIZE = 1 << 40  # bounds the cost of a hostile index


def _size(number: object, name: str) -> Any:  # noqa: ANN401  # int, or None where that is allowed
    if number is None and name in ("head_dim", "scale_groups", "mlp"):
        return None
    if type(number) is not int or not 0 < number < _LARGEST_SIZE:
        message = f"{name} is {number!r}"
        raise ValueError(message)
    return number


def _stored(
    model: Model, arrays: Mapping[str, ArraySpec], bits: Mapping[str, int]
) -> list[StoredTensor]:
    """Return the model's tensors with the shapes and dtypes that the index gives."""
    layers = model.geometry.layers
    if layers * len(model.family.layer_rules) > len(arrays):
        message = f"{len(arrays)} arrays for {layers} layers"
        raise ValueError(message)
    return [
        _one(entry, model.spec(entry), arrays, bits.get(entry.name)) for entry in model.tensors()
    ]


def _one(
    entry: ModelTensor, model: TensorSpec, arrays: Mapping[str, ArraySpec], bits: int | None
) -> StoredTensor:
    """Return a tensor, packed or not; `model` is its counterpart in the release."""
    scaled = entry.rule.quantized  # in some release or by a tool
    scales = arrays.get(scales_name(entry.name)) if scaled else None
    codes = arrays.get(codes_name(entry.name)) if scaled else None
    stored: StoredTensor
    if codes is not None and scales is not None:
        zeros = arrays.get(zeros_name(entry.name))
        stored = packing = Packing(entry.name, bits or 0, codes, scales, zeros)
        _check_packing(packing)
        shape = packing.shape
    else:
        stored = tensor = TensorSpec(entry.name, arrays[entry.name], scales)
        shape = tensor.values.shape
        if tensor.values.dtype not in (_FLOATS if scales is None else (DType.I8, *_FLOATS)):
            message = f"dtype of {entry.name}"
            raise ValueError(message)
    if scales and scales.dtype not in _FLOATS:
        message = f"dtype of the scales of {entry.name}"
        raise ValueError(message)
    if shape != model.values.shape:
        message = f"shape of {entry.name}"
        raise ValueError(message)
    if scales and (*scales.shape[:-2], scales.shape[-1]) != (*shape[:-2], shape[-1]):
        message = f"shape of the scales of {entry.name}"
        raise ValueError(message)
    return stored


def _check_packing(packing: Packing) -> None:
    wanted = packing.scales.shape
    codes, zeros = packing.codes, packing.zeros
    fits = (
        packing.bits in (4, 8)
        and codes.dtype is DType.U8
        and len(codes.shape) == len(wanted)
        and packing.shape[-2] % wanted[-2] == 0
        and (zeros is None or zeros == ArraySpec(wanted, DType.U8))
    )
    if not fits:
        message = f"codes, scales and zero points of {packing.name}"
        raise ValueError(message)


def _check_files(folder: str, layout: Layout) -> tuple[Layout, list[Finding]]:
    """Read every header; return the groups of sound files, and what is wrong with the others."""
    findings: list[Finding] = []
    sound = []
    expected = [file for group in layout.file_groups for file in group]
    allowance = Allowance()
    looks = iter(
        storage.map_all(folder, lambda file: _check_file(folder, file, allowance), expected)
    )
    for group in layout.file_groups:
        found = [next(looks) for _ in group]
        wrong = [look for look in found if isinstance(look, Finding)]
        findings += wrong
        if not wrong:
            sound.append(tuple(look for look in found if isinstance(look, FileLayout)))
    return Layout(layout.arrays, tuple(sound)), findings


def _check_file(folder: str, expected: FileLayout, allowance: Allowance) -> FileLayout | Finding:
    """Return the layout of a file with the expected arrays in any order; else a finding."""
    path = os.path.join(folder, expected.path)
    if not storage.exists(path):
        return Finding("GP101", "file is missing", expected.path)
    data = storage.FileBytes(path)
    try:
        header = safetensors.read(data, path, allowance)
    except NO_FAULT_OF_FILES:
        raise
    except GrokpackError as error:
        shown = file_recognition.explained(error, data, path, "a safetensors file")
        known = isinstance(shown, OtherFormat)
        code = shown.code if known else "GP103" if data.size() < expected.nbytes else "GP111"
        sizes = f"{expected.nbytes:,} bytes", f"{data.size():,} bytes"
        return Finding(code, shown.what, expected.path, None, *sizes)
    slices = {s.array: s for s in expected.segments if isinstance(s, ArraySlice)}
    specs = {name: ArraySpec(one.box.shape, one.dtype) for name, one in slices.items()}
    found = {name: array.spec for name, array in header.arrays.items()}
    if specs != found:
        wrong = sorted(name for name in {*specs, *found} if specs.get(name) != found.get(name))
        what = "file holds other arrays than the index says"
        both = str(specs.get(wrong[0])), str(found.get(wrong[0]))
        return Finding("GP105", what, expected.path, wrong[0], *both)
    return FileLayout(expected.path, (Literal(header.literal), *(slices[n] for n in header.arrays)))


def _strangers(folder: str, known: set[str]) -> list[Finding]:
    """Return findings for weight files that the index does not list and no rank loads."""
    return [
        weight_files.unread_file_finding(path, f"{INDEX} does not list it: not read")
        for path in storage.tree(folder)
        if path.endswith(safetensors.SUFFIX) and path not in known
        if not any(weight_files.is_hidden(part) for part in path.split("/"))
    ]


READER = Reader(NAME, "`rank-NNN-of-NNN` folders", is_store, survey, dense=True, by_tensor=True)
