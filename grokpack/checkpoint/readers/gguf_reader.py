"""Reader of GGUF: a single file, or the files of a split.

Q8_0 that was re-packaged from the release is read as int8 codes and bf16 scales again. Q8_0
quantized by others, with a scale for each block, is read as exact float32 products.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.checkpoint import Checkpoint, Survey
from grokpack.checkpoint.readers import gguf_files, gguf_tensors, shape_checks
from grokpack.checkpoint.readers.gguf_files import SUFFIX
from grokpack.checkpoint.readers.reader_row import Reader
from grokpack.checkpoint.readers.tied_head import check_head, check_rounded_head
from grokpack.core.finding import Finding
from grokpack.core.ggml_types import GGMLType
from grokpack.core.layout import ArraySlice, Box, FileLayout, Layout, Literal, Segment, whole_box
from grokpack.core.tensors import ArraySpec, DType, TensorSpec, scales_name
from grokpack.kernels.float_casts import to_f32
from grokpack.models import config_json, hyperparameters, registry
from grokpack.models.geometry_inference import infer
from grokpack.models.gguf_names import constant_keys, dimension_keys
from grokpack.transforms.copies import Copy, Transposed
from grokpack.transforms.ggml_views import (
    BlockCodes,
    BlockScales,
    BlockValues,
    read_blocks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.checkpoint.readers.gguf_files import GgufFiles
    from grokpack.checkpoint.readers.gguf_tensors import HeldTensor
    from grokpack.formats.gguf import TensorInfo
    from grokpack.models.architecture import ModelTensor, NetworkPart
    from grokpack.models.family import Family, Model
    from grokpack.models.gguf_names import GgufNames
    from grokpack.transforms.protocols import LazyArray

NAME = "gguf"
_MOST = 1024  # most layers that a model may have; Grok-1 has 64
_COUNT = "block_count"  # key of the number of layers, in the header itself
_GROUPS = "grokpack.scale_groups"
_UNEVEN = (GGMLType.MXFP4, GGMLType.NVFP4, GGMLType.IQ4_NL, GGMLType.IQ4_XS)
"""Types whose codes stand for levels that are not equally far apart."""
_PROBED_COLUMNS = 4  # outputs whose blocks are compared, to tell the two origins apart


def is_store(path: str) -> bool:
    """Return whether a path is a GGUF file, or a folder that holds some."""
    if storage.is_folder(path):
        return gguf_files.are_in(storage.names(path))
    return path.endswith(SUFFIX) and storage.exists(path)


def survey(path: str, head_dim: int | None = None) -> Survey:
    """Read every header.

    Args:
        path: A file, one of a split's, or the folder of a single model.
        head_dim: Head size, if the file does not give it.

    Raises:
        GrokpackError: GP219 for another architecture, GP209 for a header that is broken, GP233 for
            a file that is something else, GP203 if a folder holds several models.
    """
    files = gguf_files.read(path)
    if not files.complete_keys:
        return Survey(files.folder, NAME, files.expected, tuple(files.findings), None)
    infos = files.tensors()
    family, table = registry.by_gguf_names(files.architecture, infos)
    settings = _settings(files, family, table)
    given = config_json.hints(settings, family, head_dim)
    layers = min(given.layers or 0, _MOST)
    model_tensors = family.tensors(min(layers, len(infos)))
    held, wrong = gguf_tensors.take(
        infos, model_tensors, table.head, config_json.value(settings, family, "experts") or 0
    )
    specs = {e.index: TensorSpec(e.name, _logical(e, own.info)) for e, own in held.items()}
    model = infer(family, specs, layers, given)
    findings = [*files.findings, *map(files.placed, wrong)]
    if model is None:
        findings += [] if wrong else [_shapeless(files, table)]
        return Survey(files.folder, NAME, files.expected, tuple(findings), None)
    shapes = ((e, _orient(e, own.info.shape), own.names[0]) for e, own in held.items())
    findings += map(files.placed, shape_checks.misshapen(shapes, model.geometry))
    findings += shape_checks.contradictions(settings, model, files.first)
    bare = _without_tensors(files, infos, model, settings)
    sound = all(finding.severity != "error" for finding in findings)
    checkpoint = _with_tensors(bare, held) if sound else bare
    if sound and family.tied and table.head in infos:
        findings += map(files.placed, _check_head(checkpoint, table, infos))
    return Survey(
        files.folder, NAME, files.expected, tuple(findings), checkpoint, count_source=_COUNT
    )


def _without_tensors(
    files: GgufFiles, infos: Mapping[str, TensorInfo], model: Model, settings: Mapping[str, Any]
) -> Checkpoint:
    """Make the checkpoint of some files, of whose tensors nothing is known but where they lie."""
    layout = Layout(
        {name: info.stored for name, info in infos.items()},
        tuple((_layout(files, name),) for name in files.headers),
    )
    return Checkpoint(
        files.folder,
        files.folder,
        NAME,
        model,
        {},
        layout,
        config=hyperparameters.from_float32(settings, model),
        framings=_framings(files),
        owns_folder=False,
    )


def _check_head(
    checkpoint: Checkpoint, table: GgufNames, infos: Mapping[str, TensorInfo]
) -> list[Finding]:
    """Compare a stored output head with the embedding; quantizers give each a type of its own."""
    embedding, head = table.tensors["embedding"], table.head
    one, other = infos[embedding], infos[head]
    if one.type is other.type or one.shape != other.shape:
        return check_head(checkpoint, embedding, head)
    bare = ArrayReader(replace(checkpoint, views={}))

    def rows(name: str, info: TensorInfo) -> Callable[[Box], np.ndarray]:
        view = BlockValues(name, info.type.word, transposed=False) if info.type.bits else Copy(name)
        dtype = DType.F32 if info.type.bits else info.stored.dtype
        return lambda box: to_f32(view.make(box, bare), dtype)

    return check_rounded_head(one.shape, head, (rows(embedding, one), rows(head, other)))


def _shapeless(files: GgufFiles, table: GgufNames) -> Finding:
    what = "the tensors do not tell a model's dimensions"
    return Finding("GP210", what, files.first, table.tensors["embedding"])


def _settings(files: GgufFiles, family: Family, table: GgufNames) -> dict[str, Any]:
    """Return the keys under the names of the family's own config, which grokpack reads."""
    below, dimensions, known = table.architecture, family.dimensions, family.hyperparameters
    names = [
        *((f"{below}.{k}", dimensions[n][0]) for k, n in dimension_keys(dimensions).items()),
        *((f"{below}.{k}", known[n][0]) for k, n in constant_keys(known).items()),
        *((f"tokenizer.ggml.{k}_token_id", known[n][0]) for k, n in table.tokens.items()),
    ]
    settings: dict[str, Any] = {}
    for key, name in names:
        value = files.keys.get(key)
        if value is not None:
            settings.setdefault(name, value)
    if _GROUPS in files.keys:
        settings["scale_groups"] = files.keys[_GROUPS]
    return settings


def _framings(files: GgufFiles) -> dict[str, tuple[bytes, ...]]:
    """Return the framing of the original pickles, if the file's manifest keeps it."""
    first = os.path.join(files.folder, next(iter(files.headers)))
    beside = f"{first}.{manifest_file.FILE}"
    if len(files.headers) == 1 and storage.exists(beside):
        return manifest_file.framings(manifest_file.load_file(beside))
    return (
        manifest_file.framings(manifest_file.load(files.folder)) if len(files.headers) > 1 else {}
    )


def _logical(entry: ModelTensor, info: TensorInfo) -> ArraySpec:
    """Return the spec of a tensor in xAI's orientation; float32 products for blocks."""
    dtype = DType.F32 if info.type.bits else info.stored.dtype
    return ArraySpec(_orient(entry, info.shape), dtype)


def _orient(entry: ModelTensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    if not entry.rule.matrix or len(shape) < 2:  # noqa: PLR2004  # no matrix
        return shape
    return (*shape[:-2], shape[-1], shape[-2])


def _layout(files: GgufFiles, name: str) -> FileLayout:
    header = files.headers[name]
    data = storage.FileBytes(os.path.join(files.folder, name))
    segments: list[Segment] = [Literal(data.read(0, header.literal_bytes))]
    at = header.literal_bytes
    for tensor, info in header.tensors.items():
        begins = header.offsets[tensor]
        if begins > at:
            segments.append(Literal(data.read(at, begins - at)))
        array = info.stored
        segments.append(ArraySlice(tensor, whole_box(array.shape), array.dtype))
        at = begins + array.nbytes
    if data.size() > at:
        segments.append(Literal(data.read(at, min(data.size() - at, 1 << 16))))
    return FileLayout(name, tuple(segments))


def _with_tensors(bare: Checkpoint, held: Mapping[ModelTensor, HeldTensor]) -> Checkpoint:
    groups = _groups(bare, held)
    tensors: dict[str, TensorSpec] = {}
    views: dict[str, LazyArray] = {}
    for entry in bare.model.tensors():
        tensors[entry.name], own = _view(entry, held[entry], groups)
        views |= own
    model = bare.model.sized(scale_groups=groups)
    kinds = {e.name: own.info.type for e, own in held.items()}
    floats = {name: kind.word for name, kind in kinds.items() if kind in _UNEVEN}
    bits = {
        e.name: own.info.type.bits
        for e, own in held.items()
        if own.info.type.bits is not None and tensors[e.name].scales is None
    }
    return replace(bare, tensors=tensors, views=views, model=model, bits=bits, floats=floats)


def _groups(bare: Checkpoint, held: Mapping[ModelTensor, HeldTensor]) -> int | None:
    """Return the scale groups of row-parallel weights; None if blocks have their own scales."""
    infos = {entry: own.info for entry, own in held.items()}
    blocks = [e for e, info in infos.items() if info.type is GGMLType.Q8_0 and e.rule.quantized]
    if not blocks:
        return None
    groups = bare.geometry.scale_groups or bare.model.family.release.scale_groups
    if groups is None:
        return None
    first = {e.rule.part: e for e in reversed(blocks)}
    probed: tuple[tuple[NetworkPart, int], ...] = (("attention_output", groups), ("query", 1))
    for part, count in probed:
        entry = first.get(part)
        if entry is None or not _blocks_agree(bare, entry, infos[entry], count):
            return None
    return groups


def _blocks_agree(bare: Checkpoint, entry: ModelTensor, info: TensorInfo, groups: int) -> bool:
    """Return whether the blocks of a group share a scale, in the first outputs of a matrix."""
    inputs = info.shape[-1]
    if inputs % (32 * groups):
        return False
    box = Box((0, 0), (inputs, min(_PROBED_COLUMNS, info.shape[-2])))
    _, blocks = read_blocks(entry.gguf, box, ArrayReader(bare))
    d = np.ascontiguousarray(blocks[..., :2]).view("<u2")[..., 0]
    grouped = d.reshape(len(d), groups, -1)
    return bool((grouped == grouped[..., :1]).all())


def _view(
    entry: ModelTensor, held: HeldTensor, groups: int | None
) -> tuple[TensorSpec, dict[str, LazyArray]]:
    """Return a tensor, and lazy arrays of its values and scales."""
    info, shape = held.info, _orient(entry, held.info.shape)
    rows = groups if entry.rule.cut == "rows" else 1
    coded = info.type is GGMLType.Q8_0 and entry.rule.quantized and groups is not None
    values = held.view(partial(_values, entry, info, coded=coded))
    if not coded or rows is None:
        dtype = DType.F32 if info.type.bits else info.stored.dtype
        return TensorSpec(entry.name, ArraySpec(shape, dtype)), {entry.name: values}
    scales = ArraySpec((*shape[:-2], rows, shape[-1]), DType.BF16)
    per_group = shape[-2] // rows
    spec = TensorSpec(entry.name, ArraySpec(shape, DType.I8), scales)
    made = held.view(lambda array: BlockScales(array, per_group))
    return spec, {entry.name: values, scales_name(entry.name): made}


def _values(entry: ModelTensor, info: TensorInfo, array: str, *, coded: bool) -> LazyArray:
    """Return the lazy array of the values of a tensor or of one expert."""
    transposed = _orient(entry, info.shape) != info.shape or entry.rule.quantized
    if coded:
        return BlockCodes(array)
    if info.type.bits:
        return BlockValues(array, info.type.word, transposed)
    return Transposed(array) if transposed or entry.rule.matrix else Copy(array)


READER = Reader(NAME, "GGUF", is_store, survey, dense=True)
