"""Grok-1 in GGUF: a single file, or the files of a split.

Q8_0 that was re-packaged from the release is read as int8 codes and bf16 scales again; Q8_0 that
was quantised by others, with a scale of its own for each block, as exact float32 products.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack import manifest, storage
from grokpack.checkpoint import Checkpoint, Finding, Survey
from grokpack.config import contradictions, hints
from grokpack.errors import GrokpackError, Place
from grokpack.formats import gguf_header
from grokpack.formats.allowance import Allowance
from grokpack.formats.gguf import BITS, BLOCKS, GGMLType, TensorInfo
from grokpack.layout import Box, FileLayout, Layout, Literal, Part, Segment, whole
from grokpack.models import constants, grok1
from grokpack.models.inference import infer
from grokpack.ops import BlockCodes, BlockProducts, BlockScales, Renamed, Turned
from grokpack.ops.block_values import BlockValues
from grokpack.ops.views import read_blocks
from grokpack.reading import ArrayReader
from grokpack.stores.heads import check_head
from grokpack.tensor import ArraySpec, DType, TensorSpec, scales_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.formats.gguf_header import Header, Value
    from grokpack.models.grok1 import Entry
    from grokpack.ops import View

NAME = "gguf"
SUFFIX = ".gguf"
ARCH = "grok"
HEAD = "output.weight"
_MOST_FILES = 4096  # of a split: a gigabyte each would be thirteen times the release
_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_CONFIG = {  # GGUF's key below `grok.`: the key of a Hugging Face config
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.output_scale": "attn_output_multiplier",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "context_length": "max_position_embeddings",
    "embedding_scale": "embedding_multiplier_scale",
    "logit_scale": "output_multiplier_scale",
    "rope.freq_base": "rope_theta",
}
_RELEASED_GROUPS = 8  # what the release has; asked for where the file does not tell
_PROBED = {"multi_head_attention/linear/w": None, "multi_head_attention/query/w": 1}
"""A weight with groups, and one with a single scale for each output."""
_PROBED_COLUMNS = 4  # outputs whose blocks are looked at, to tell one origin from the other


def is_store(path: str) -> bool:
    """Whether a path is a GGUF file, or a folder that holds some."""
    if storage.is_folder(path):
        return any(name.endswith(SUFFIX) for name in storage.names(path))
    return path.endswith(SUFFIX) and storage.exists(path)


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of a model, with their headers in the order of the split."""

    folder: str
    headers: dict[str, Header]
    findings: list[Finding]

    @property
    def keys(self) -> Mapping[str, Value]:
        """Keys of the first file, which has them all."""
        return next(iter(self.headers.values())).keys

    def tensors(self) -> dict[str, TensorInfo]:
        """Every tensor of every file."""
        return {n: info for header in self.headers.values() for n, info in header.tensors.items()}


def survey(path: str, head_dim: int | None = None) -> Survey:
    """Read every header.

    Args:
        path: A file, one of a split's, or the folder that holds one model's.
        head_dim: Head size, where the file does not give it.

    Raises:
        GrokpackError: GP219 for another architecture, GP209 for a header that is broken.
    """
    files = _read(path)
    arch = files.keys.get("general.architecture")
    if arch != ARCH:
        raise GrokpackError("GP219", f"architecture is `{arch}`, not `{ARCH}`", Place(path))
    settings = _settings(files.keys)
    given = hints(settings, head_dim)
    layers = given.layers or 0
    infos = files.tensors()
    found, missing = _known(infos, layers)
    specs = {e.index: TensorSpec(e.name, _logical(e, info)) for e, info in found.items()}
    geometry = infer(specs, layers, given)
    findings = [*files.findings, *missing]
    if geometry is None:
        return Survey(files.folder, NAME, len(files.headers), tuple(findings), None)
    findings += _misshapen(found, geometry)
    findings += [Finding("GP130", text) for text in contradictions(settings, geometry)]
    layout = Layout(
        {name: info.stored for name, info in infos.items()},
        tuple((_layout(files, name),) for name in files.headers),
    )
    bare = Checkpoint(
        files.folder,
        files.folder,
        NAME,
        geometry,
        {},
        layout,
        config=constants.from_float32(settings, geometry),
        framings=_framings(files),
        owns_folder=False,
    )
    if findings:
        return Survey(files.folder, NAME, len(files.headers), tuple(findings), bare)
    return _with_tensors(bare, found, len(files.headers))


def _read(path: str) -> _Files:
    folder, names = _names(path)
    allowance = Allowance()
    looks = storage.each(path, lambda name: _header(os.path.join(folder, name), allowance), names)
    headers = {name: look for name, look in zip(names, looks, strict=True) if look}
    findings = [
        Finding("GP101", "file of the split is missing", name)
        for name, look in zip(names, looks, strict=True)
        if look is None
    ]
    if not headers or names[0] not in headers:
        raise GrokpackError("GP202", "the first file of the split is missing", Place(path))
    return _Files(folder, headers, findings)


def _header(place: str, allowance: Allowance) -> Header | None:
    """The header of a file; None where there is no file."""
    if not storage.exists(place):
        return None
    return gguf_header.read(storage.FileBytes(place), place, allowance)


def _names(path: str) -> tuple[str, list[str]]:
    """The folder, and the names of the model's files.

    Raises:
        GrokpackError: GP203 where a folder holds several models, GP235 where the name claims more
            files than any model has.
    """
    if storage.is_folder(path):
        found = [name for name in storage.names(path) if name.endswith(SUFFIX)]
        stems = {match[1] if (match := _SPLIT.fullmatch(name)) else name for name in found}
        if len(stems) > 1:
            hint = "name the file that is meant, or the first of its split"
            raise GrokpackError("GP203", "several GGUF models are here", Place(path), hint=hint)
        path = os.path.join(path, found[0])
    folder, name = os.path.split(storage.absolute(path))
    match = _SPLIT.fullmatch(name)
    if match is None:
        return folder, [name]
    count = int(match[3])
    if count > _MOST_FILES:
        raise GrokpackError("GP235", f"a split of more than {_MOST_FILES:,} files", Place(path))
    return folder, [f"{match[1]}-{n + 1:05d}-of-{count:05d}{SUFFIX}" for n in range(count)]


def _settings(keys: Mapping[str, Value]) -> dict[str, Any]:
    """The keys as a Hugging Face config has them, which the rest of grokpack reads."""
    settings: dict[str, Any] = {
        name: keys[f"{ARCH}.{key}"] for key, name in _CONFIG.items() if f"{ARCH}.{key}" in keys
    }
    settings.setdefault("head_dim", keys.get(f"{ARCH}.rope.dimension_count"))
    if "grokpack.scale_groups" in keys:
        settings["scale_groups"] = keys["grokpack.scale_groups"]
    return {name: value for name, value in settings.items() if value is not None}


def _framings(files: _Files) -> dict[str, tuple[bytes, ...]]:
    """Framing of the pickles that the file was made from, where its manifest keeps it."""
    first = os.path.join(files.folder, next(iter(files.headers)))
    beside = f"{first}.{manifest.FILE}"
    if len(files.headers) == 1 and storage.exists(beside):
        return manifest.framings(manifest.load_file(beside))
    return manifest.framings(manifest.load(files.folder)) if len(files.headers) > 1 else {}


def _known(
    infos: Mapping[str, TensorInfo], layers: int
) -> tuple[dict[Entry, TensorInfo], list[Finding]]:
    """Tensors of the model, and findings for those that it lacks or has too many of."""
    entries = {entry.gguf: entry for entry in grok1.entries(min(layers, len(infos)))}
    findings = [
        Finding("GP101", "tensor is missing", None, name) for name in entries if name not in infos
    ]
    findings += [
        Finding("GP102", "no tensor of this model has that name", None, name)
        for name in infos
        if name not in entries and name != HEAD
    ]
    return {entry: infos[name] for name, entry in entries.items() if name in infos}, findings


def _logical(entry: Entry, info: TensorInfo) -> ArraySpec:
    """The tensor as xAI stores it, as far as shape goes; products where it has blocks."""
    dtype = DType.F32 if info.type in BLOCKS else info.stored.dtype
    return ArraySpec(_orient(entry, info.shape), dtype)


def _orient(entry: Entry, shape: tuple[int, ...]) -> tuple[int, ...]:
    if entry.rule.role in ("norm", "embedding") or len(shape) < 2:  # noqa: PLR2004  # no matrix
        return shape
    return (*shape[:-2], shape[-1], shape[-2])


def _misshapen(found: Mapping[Entry, TensorInfo], geometry: grok1.Geometry) -> Iterator[Finding]:
    for entry, info in found.items():
        shape, wanted = _orient(entry, info.shape), geometry.shape(entry.rule)
        if shape != wanted:
            what = "tensor has another shape than its place asks for"
            yield Finding("GP105", what, None, entry.gguf, str(wanted), str(shape))


def _layout(files: _Files, name: str) -> FileLayout:
    header = files.headers[name]
    data = storage.FileBytes(os.path.join(files.folder, name))
    segments: list[Segment] = [Literal(data.read(0, header.literal_bytes))]
    at = header.literal_bytes
    for tensor, info in header.tensors.items():
        begins = header.offsets[tensor]
        if begins > at:
            segments.append(Literal(data.read(at, begins - at)))
        array = info.stored
        segments.append(Part(tensor, whole(array.shape), array.dtype))
        at = begins + array.nbytes
    if data.size() > at:
        segments.append(Literal(data.read(at, min(data.size() - at, 1 << 16))))
    return FileLayout(name, tuple(segments))


def _with_tensors(bare: Checkpoint, found: Mapping[Entry, TensorInfo], files: int) -> Survey:
    from dataclasses import replace

    groups = _groups(bare, found)
    tensors: dict[str, TensorSpec] = {}
    views: dict[str, View] = {}
    for entry in grok1.entries(bare.geometry.layers):
        tensors[entry.name], own = _view(entry, found[entry], groups)
        views |= own
    geometry = replace(bare.geometry, scale_groups=groups)
    bits = {
        e.name: BITS[info.type]
        for e, info in found.items()
        if info.type in BITS and tensors[e.name].scales is None
    }
    checkpoint = replace(bare, tensors=tensors, views=views, geometry=geometry, bits=bits)
    findings: list[Finding] = []
    if HEAD in bare.layout.arrays:
        findings = check_head(checkpoint, grok1.entries(0)[0].gguf, HEAD)
    return Survey(bare.folder, NAME, files, tuple(findings), checkpoint)


def _groups(bare: Checkpoint, found: Mapping[Entry, TensorInfo]) -> int | None:
    """Scale groups of row-parallel weights; None where blocks have scales of their own."""
    blocks = [e for e, info in found.items() if info.type is GGMLType.Q8_0 and e.rule.quantised]
    if not blocks:
        return None
    groups = hints(bare.config).scale_groups or _RELEASED_GROUPS
    first = {e.rule.path: e for e in reversed(blocks)}
    for path, count in (
        ("multi_head_attention/linear/w", groups),
        ("multi_head_attention/query/w", 1),
    ):
        entry = first.get(path)
        if entry is None or not _blocks_agree(bare, entry, found[entry], count or groups):
            return None
    return groups


def _blocks_agree(bare: Checkpoint, entry: Entry, info: TensorInfo, groups: int) -> bool:
    """Whether blocks of a group share a scale, in the first few outputs of a matrix."""
    inputs = info.shape[-1]
    if inputs % (32 * groups):
        return False
    box = Box((0, 0), (inputs, min(_PROBED_COLUMNS, info.shape[-2])))
    _, blocks = read_blocks(entry.gguf, box, ArrayReader(bare))
    d = np.ascontiguousarray(blocks[..., :2]).view("<u2")[..., 0]
    grouped = d.reshape(len(d), groups, -1)
    return bool((grouped == grouped[..., :1]).all())


def _view(entry: Entry, info: TensorInfo, groups: int | None) -> tuple[TensorSpec, dict[str, View]]:
    name, shape, stored = entry.name, _orient(entry, info.shape), entry.gguf
    turned = shape != info.shape or entry.rule.quantised
    if info.type in BLOCKS and info.type is not GGMLType.Q8_0:
        values = BlockValues(stored, info.type.name.lower(), turned)
        return TensorSpec(name, ArraySpec(shape, DType.F32)), {name: values}
    if info.type is not GGMLType.Q8_0:
        view: View = Turned(stored) if turned or entry.rule.role == "router" else Renamed(stored)
        return TensorSpec(name, ArraySpec(shape, info.stored.dtype)), {name: view}
    if groups is None or not entry.rule.quantised:
        spec = TensorSpec(name, ArraySpec(shape, DType.F32))
        return spec, {name: BlockProducts(stored, turned)}
    rows = groups if entry.rule.cut == "rows" else 1
    scales = ArraySpec((*shape[:-2], rows, shape[-1]), DType.BF16)
    spec = TensorSpec(name, ArraySpec(shape, DType.I8), scales)
    return spec, {
        name: BlockCodes(stored),
        scales_name(name): BlockScales(stored, shape[-2] // rows),
    }
