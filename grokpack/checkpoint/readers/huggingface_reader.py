"""Reader of Hugging Face folders, in any family's naming conventions.

It reads folders that `convert --to hf` and `--to sglang` wrote and those that others published.
Matrices are stored `[out, in]`, one for each expert; lazy arrays transpose and stack them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint import config_file, manifest_file
from grokpack.checkpoint.checkpoint import Checkpoint, Survey
from grokpack.checkpoint.readers import (
    expected_counts,
    folder_headers,
    fp8_weights,
    kind_files,
    matrix_assembly,
    packed_arrays,
    packed_weights,
    packing_variants,
    quantization_settings,
    sglang_rank_files,
    shape_checks,
    weight_files,
)
from grokpack.checkpoint.readers.fp8_weights import FloatWeight
from grokpack.checkpoint.readers.matrix_assembly import (
    StoredMatrices,
    first_name,
    stored_names,
)
from grokpack.checkpoint.readers.packed_weights import PackedWeight
from grokpack.checkpoint.readers.quantization_settings import HINT
from grokpack.checkpoint.readers.reader_row import Reader
from grokpack.checkpoint.readers.tied_head import check_head
from grokpack.core.counts import counted
from grokpack.core.errors import GrokpackError, Place, UnsupportedLayout
from grokpack.core.finding import Finding, only_errors
from grokpack.core.layout import ArraySlice, FileLayout, Layout, Literal, whole_box
from grokpack.core.tensors import DType, TensorSpec
from grokpack.formats import zstd_seekable
from grokpack.models import config_json, registry, tensor_names
from grokpack.models.geometry_inference import infer
from grokpack.transforms.copies import Copy, Transposed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.checkpoint.readers.folder_headers import FolderHeaders
    from grokpack.checkpoint.readers.quantization_settings import PackingSettings
    from grokpack.checkpoint.readers.sglang_rank_files import JoinedArrays
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.family import Family, Model
    from grokpack.models.geometry_inference import Hints
    from grokpack.models.tensor_names import Convention
    from grokpack.transforms.protocols import LazyArray

    Packed = PackedWeight | FloatWeight
    Find = Callable[[str], Packed | str | None]

NAME = "hf"
_SHORT = 8  # integers of an array that is read with the headers: a shape
_FEW = 5  # names that a message lists


def is_store(folder: str) -> bool:
    """Return whether a folder itself holds safetensors files or their index."""
    return weight_files.has_weights(storage.names(folder))


def survey(folder: str, head_dim: int | None = None) -> Survey:
    """Read the index and every header.

    Args:
        folder: The folder of the safetensors files.
        head_dim: Head size, if config.json does not give it.

    Raises:
        GrokpackError: GP217 if the names follow no convention.
    """
    found = folder_headers.read_headers(folder)
    if not found.headers:
        return Survey(folder, NAME, len(found.files), found.located(), None)
    settings, told = config_file.find([folder])
    scheme = _scheme(found, folder, settings)
    family, convention = _convention(found, folder, settings)
    document = manifest_file.load(folder)
    joined = _join(found, family, convention, document, settings)
    find = _find(found, folder, scheme)
    hints = config_json.hints(settings, family, head_dim)
    spare = packing_variants.zero_biases(folder, found.headers)
    layers, experts = _extent(found, convention, hints, spare)
    tensors, views, whole_packed = _assemble(found, family, convention, (layers, experts), find)
    if not only_errors(found.findings):
        _refuse_unread(found, folder, convention, views)
    forms = _forms(scheme, whole_packed)
    model = infer(family, {e.index: t for e, t in tensors.items()}, layers, hints)
    if model is None:
        return Survey(folder, NAME, len(found.files), found.located(), None)
    found.findings += expected_counts.other_layers(model, hints, partial(first_name, convention))
    found.findings += sglang_rank_files.doubts(joined, found.headers, model.geometry)
    if forms["bits"]:  # they have groups of their own, which ranks do not share as the release's
        model = model.sized(scale_groups=None)
    shapes = ((e, t.values.shape, first_name(convention, e)) for e, t in tensors.items())
    found.findings += shape_checks.misshapen(shapes, model.geometry)
    found.findings += shape_checks.contradictions(settings, model, there=told is not None)
    named = {e.name: tensors[e] for e in model.tensors() if e in tensors}
    layout = Layout(found.arrays, tuple((_file_layout(found, path),) for path in found.headers))
    checkpoint = Checkpoint(
        folder,
        folder,
        NAME,
        model,
        named,
        layout,
        config=settings,
        framings=manifest_file.framings(document),
        ranks=joined.ranks,
        views=views,
        **forms,
    )
    _compare_head(found, checkpoint, convention)
    files, findings = len(found.files), found.located()
    source = _count_source(found, joined, model, hints)
    return Survey(folder, NAME, files, findings, checkpoint, count_source=source)


def _find(found: FolderHeaders, folder: str, scheme: PackingSettings) -> Find:
    """Return a function that finds out how a weight is packed, as integers or floats.

    Raises:
        GrokpackError: GP208 for zero points in a form that is not read, GP209 for an order of
            inputs with unknown groups.
    """
    read = packing_variants.integer_reader(folder, found.headers)
    packing_variants.refuse_whole_zeros(folder, found.arrays, read)
    integers = partial(
        packed_weights.find,
        found.arrays,
        numbers=partial(_numbers, found, read),
        symmetric=scheme.symmetric,
        orders=packing_variants.find_orders(folder, found.arrays, read),
    )

    def find(weight: str) -> Packed | str | None:
        own = integers(weight)
        return fp8_weights.find(found.arrays, weight, scheme.block) if own is None else own

    return find


def _forms(scheme: PackingSettings, weights: Mapping[str, Packed]) -> dict[str, Any]:
    """Return what a checkpoint says of packed weights, after a check of the settings."""
    integers = {n: one for n, one in weights.items() if isinstance(one, PackedWeight)}
    floats = {n: one.packing(n) for n, one in weights.items() if isinstance(one, FloatWeight)}
    scheme.refuse_other_shapes(integers)
    return {
        "bits": {name: one.bits for name, one in integers.items()},
        "floats": {n: one.floats for n, one in integers.items() if one.floats is not None},
        "packings": {n: own for n, one in integers.items() if (own := one.packing(n)) is not None},
        "float_packings": floats,
    }


def _count_source(
    found: FolderHeaders, joined: JoinedArrays, model: Model, hints: Hints
) -> str | None:
    """Return what gives the number of files, for people; None if ranks may be missing."""
    if not joined.ranks_known:
        return None
    return found.count_source or expected_counts.layer_count_source(model, hints)


def _convention(
    found: FolderHeaders, folder: str, settings: Mapping[str, Any]
) -> tuple[Family, Convention]:
    """Return the family and the convention of the names.

    Raises:
        GrokpackError: GP217 with the nearest known names.
    """
    listed = [
        packed_arrays.weight_of(n) for header in found.headers.values() for n in header.arrays
    ]
    recognized = registry.by_convention(listed, settings)
    if recognized is None:
        facts = tuple((name, _nearest(name)) for name in listed[:_FEW])
        what = "the tensor names follow no convention of a known model family"
        hint = "see docs/reference/formats.md for the names that are read"
        raise GrokpackError("GP217", what, Place(folder), facts, hint)
    return recognized


def _nearest(name: str) -> str:
    near = (tensor_names.nearest(convention, name) for _, convention in registry.conventions())
    return next((f"near {text}" for text in near if text), "unlike any known")


def _scheme(found: FolderHeaders, folder: str, settings: Mapping[str, Any]) -> PackingSettings:
    """Read how weights are packed, from every place where tools state it."""
    specs = {n: a.spec for header in found.headers.values() for n, a in header.arrays.items()}
    metadata = {path: header.metadata for path, header in found.headers.items()}
    return quantization_settings.read(folder, settings, metadata, specs)


def _join(
    found: FolderHeaders,
    family: Family,
    convention: Convention,
    document: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
) -> JoinedArrays:
    """Compare the files with their index, join those of ranks, and add both to the folder."""
    found.findings += folder_headers.index_findings(found, convention)
    recorded = [n.removesuffix(zstd_seekable.SUFFIX) for n in (document or {}).get("files", ())]
    listed = [*(found.files if found.count_source else ()), *recorded]
    kinds = kind_files.examine(found.headers, family, convention, found.files, recorded, settings)
    if kinds is not None:
        found.take(kinds)
    joined = sglang_rank_files.join(
        found.headers, family, convention, listed, settings, kinds.ranks if kinds else None
    )
    found.arrays, found.boxes = joined.arrays, joined.boxes
    if found.kinds is not None:
        found.findings += shape_checks.odd_dtypes(found.headers)
    known = {finding.file for finding in found.findings}
    found.findings += [finding for finding in joined.findings if finding.file not in known]
    found.files += [path for path in joined.missing if path not in found.files]
    return joined


def _compare_head(found: FolderHeaders, checkpoint: Checkpoint, convention: Convention) -> None:
    """Compare a head that is a copy of the embedding with it, if all else is sound."""
    copied = checkpoint.model.family.tied and convention.head in found.arrays
    if copied and all(f.severity == "warning" for f in found.findings):
        embedding = convention.table["embedding"]
        found.findings += check_head(checkpoint, embedding, convention.head)


def _extent(
    found: FolderHeaders, convention: Convention, hints: Hints, spare: frozenset[str]
) -> tuple[int, int]:
    """Return the numbers of layers and experts by the names, all but those to spare.

    What the convention lacks, and layers beyond those that are told of, become findings.
    """
    shown = found.kinds and found.kinds.layers
    layers, held = shown or hints.layers, []
    teller = "the other files hold" if shown else "the config tells of"
    for path, header in found.headers.items():
        found.findings += _not_read(path, [name for name in header.arrays if name in spare])
        for name in header.arrays:
            if name in spare:
                continue
            parsed = tensor_names.parse(convention, packed_arrays.weight_of(name))
            if parsed is None:
                found.findings += _foreign(convention, path, name)
                continue
            held.append(parsed)
            if layers is not None and (parsed.layer or 0) >= layers:
                what = f"{teller} {counted(layers, 'layer')}"
                found.findings.append(Finding("GP102", what, path, name))
        found.findings += fp8_weights.unread(path, header.arrays)
    router = found.arrays.get(convention.full("router", 0))
    return matrix_assembly.extent(held, layers, router, hints.dims.get("experts"))


def _not_read(path: str, biases: list[str]) -> list[Finding]:
    """Return a note on a file's biases of zeros, if it has some."""
    if not biases:
        return []
    what = f"{len(biases):,} biases of zeros, which no weight needs: not read"
    return [Finding("GP102", what, path, biases[0], severity="warning")]


def _foreign(convention: Convention, path: str, name: str) -> list[Finding]:
    """Return the finding for a name that the convention lacks."""
    if name == convention.head or fp8_weights.is_of_activations(name):
        return []
    if tensor_names.is_buffer(name):
        what = "a buffer of the rotary embedding, which is computed: not read"
        return [Finding("GP102", what, path, name, severity="warning")]
    what = f"tensor name is not in the convention of {convention.name}"
    return [Finding("GP102", what, path, name, tensor_names.nearest(convention, name))]


def _assemble(
    found: FolderHeaders,
    family: Family,
    convention: Convention,
    extent: tuple[int, int],
    find: Find,
) -> tuple[dict[ModelTensor, TensorSpec], dict[str, LazyArray], dict[str, Packed]]:
    """Assemble the model's tensors from the arrays; incomplete ones become findings.

    Returns:
        Tensors, lazy arrays of them, and packed weights.
    """
    tensors: dict[ModelTensor, TensorSpec] = {}
    views: dict[str, LazyArray] = {}
    weights: dict[str, Packed] = {}
    layers, experts = extent
    matrices = StoredMatrices(found.arrays, Transposed, Copy)
    for entry in family.tensors(layers):
        stored = stored_names(entry, convention, experts)
        packed = [find(name) for name in stored]
        if any(m is not None for m in packed) and not entry.rule.quantized:
            what = "this tensor is quantized, which is read of projections only"
            raise UnsupportedLayout(what, None, (("tensor", stored[0]),), HINT)
        if any(m is not None for m in packed):
            weight = _packed(found, entry, stored, packed)
            if weight is not None:
                tensors[entry] = weight.tensor(entry.name)
                views |= weight.views(entry.name)
                weights[entry.name] = weight
            continue
        missing = [name for name in stored if name not in found.arrays]
        if missing:
            found.miss(entry, missing[0])
            continue
        assembled = matrices.assemble(entry, stored)
        if isinstance(assembled, Finding):
            found.findings.append(assembled)
            continue
        spec, views[entry.name] = assembled
        tensors[entry] = TensorSpec(entry.name, spec)
    return tensors, views, weights


def _refuse_unread(
    found: FolderHeaders, folder: str, convention: Convention, views: Mapping[str, LazyArray]
) -> None:
    """Refuse arrays of packed weights that no value depends on: another program would use them.

    Raises:
        UnsupportedLayout: GP208.
    """
    read = {name for view in views.values() for name in view.inputs}
    for name in found.arrays:
        weight = packed_arrays.weight_of(name)
        part = name != weight or packed_arrays.has_words(found.arrays, weight)
        if not part or name in read or name.endswith(packed_arrays.READ_AHEAD):
            continue
        if tensor_names.parse(convention, weight) is not None:
            what = "a packed weight has an array that has no part in this form of it"
            raise UnsupportedLayout(what, Place(folder, tensor=name), hint=HINT)


def _packed(
    found: FolderHeaders,
    entry: ModelTensor,
    stored: list[str],
    matrices: list[Packed | str | None],
) -> Packed | None:
    """Return a packed weight of all experts; None, and findings, if it is incomplete."""
    good: list[Any] = [m for m in matrices if isinstance(m, PackedWeight | FloatWeight)]
    for name, matrix in zip(stored, matrices, strict=True):
        if not isinstance(matrix, PackedWeight | FloatWeight):
            what = matrix or "expert is not packed, as others are"
            found.findings.append(Finding("GP105", what, None, name))
    if len(good) < len(matrices):
        return None
    if len({matrix.kind for matrix in good}) > 1:
        what = "experts differ in shape, dtype or bits"
        found.findings.append(Finding("GP106", what, None, stored[0]))
        return None
    whole: Packed = good[0].stacked(good) if entry.rule.stacked else good[0]
    return whole


def _numbers(
    found: FolderHeaders, read: packing_variants.ReadIntegers, name: str
) -> tuple[int, ...]:
    """Read a short array of 64-bit integers."""
    spec = found.arrays.get(name)
    if spec is None or spec.dtype is not DType.I64:
        return ()
    return tuple(map(int, read(name, 0, min(spec.elements, _SHORT))))


def _file_layout(found: FolderHeaders, path: str) -> FileLayout:
    header = found.headers[path]
    slices = tuple(
        ArraySlice(
            name, found.boxes.get((path, name), whole_box(stored.spec.shape)), stored.spec.dtype
        )
        for name, stored in header.arrays.items()
    )
    return FileLayout(path, (Literal(header.literal), *slices))


READER = Reader(NAME, "safetensors", is_store, survey, dense=True)
