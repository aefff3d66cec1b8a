"""Writer of GGUF for llama.cpp: experts merged, router and norms in float32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.conversion.writers import gguf_vocabulary, losslessness
from grokpack.conversion.writers.engine_arrays import FLOATS, engine_array
from grokpack.conversion.writers.exactness_checks import refuse_inexact
from grokpack.conversion.writers.scale_groups import collapsed_groups, has_int8_codes
from grokpack.conversion.writers.writer_row import Writer
from grokpack.core.byte_size import byte_size
from grokpack.core.errors import GrokpackError, UnusableValue
from grokpack.core.ggml_types import KEEPING, GGMLType
from grokpack.core.layout import Layout
from grokpack.core.tensors import DType
from grokpack.formats import gguf
from grokpack.formats.gguf import TensorInfo
from grokpack.formats.safetensors import shards
from grokpack.kernels.transposed_weights import Q8_BLOCK
from grokpack.models import hyperparameters
from grokpack.models.gguf_names import constant_keys, dimension_keys
from grokpack.planning.target import Target
from grokpack.transforms.ggml_blocks import PackQ8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.gguf_vocabulary import GgufVocabulary
    from grokpack.conversion.writers.losslessness import Fidelity
    from grokpack.core.ggml_types import Mix
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.family import Family
    from grokpack.models.gguf_names import GgufNames
    from grokpack.transforms.protocols import Op

NAME = "gguf"
_QUANTIZATION_VERSION = 2  # ggml.h: GGML_QNT_VERSION
_GIGABYTE = 10**9
_YARN = "rope.scaling"
_COUNTS = ("original_context_length",)  # keys of YaRN that are whole numbers


@dataclass(frozen=True, slots=True)
class GgufOptions:
    """Options of writing a GGUF.

    Attributes:
        type: Type of the matrices; None for the default.
        embedding: Dtype of the embedding; None for float32 with `f32`, else bfloat16.
        shard_bytes: Maximum size of each file of a split; None for a single file.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint, `none`
            for a file without vocabulary.
        yarn: True to write the keys that switch YaRN on, as llama.cpp's converter does.
    """

    type: str | None = None
    embedding: str | None = None
    shard_bytes: int | None = None
    tokenizer: str | None = None
    yarn: bool = False


def to_gguf(source: Checkpoint, options: GgufOptions) -> Target:
    """Make the target: one file, or a folder with the files of a split.

    Raises:
        GrokpackError: GP306 where the type is missing or cannot hold the source, or there is no
            tokenizer that fits; GP307 where a package is missing.
    """
    kind = _kind(source, options)

    def tensor(entry: ModelTensor) -> tuple[TensorInfo, Op]:
        own = embedding_type(options.embedding, kind) if entry.rule.by_token else kind
        return plain_tensor(source, entry, own)

    target = assemble(source, kind, tensor, options)
    if kind is GGMLType.Q8_0:
        refuse_inexact(source, [op for op in target.ops.values() if isinstance(op, PackQ8)])
    kept = losslessness.judge(source, target.ops)
    notes = (*_notes(kind, kept), *target.notes)
    return replace(target, notes=notes, lossless=kept.lossless)


def assemble(
    source: Checkpoint,
    kind: GGMLType | Mix,
    tensor: Callable[[ModelTensor], tuple[TensorInfo, Op]],
    options: GgufOptions,
) -> Target:
    """Make the target from tensors and their ops.

    Args:
        source: The checkpoint to convert.
        kind: Type or mix that the file declares as its own.
        tensor: Returns type and shape of a tensor, and its op.
        options: Split and tokenizer.
    """
    table = _table(source.model.family)
    vocabulary = gguf_vocabulary.read_vocabulary(source, options.tokenizer)
    infos: dict[str, TensorInfo] = {}
    made: dict[str, Op] = {}
    for entry in source.model.network_order():
        infos[entry.gguf], made[entry.gguf] = tensor(entry)
    groups = _groups(infos, options.shard_bytes)
    yarn = _yarn(source, table) if options.yarn else {}

    def add_keys(writer: Any) -> None:  # noqa: ANN401  # gguf.GGUFWriter
        _add_keys(writer, source, table, kind, vocabulary)
        _add_yarn(writer, table, yarn)

    files = gguf.lay_out(
        _paths(source.model.family, kind, len(groups)),
        groups,
        add_keys,
        table.architecture,
    )
    arrays = {name: info.stored for name, info in infos.items()}
    return Target(
        NAME,
        Layout(arrays, tuple((file,) for file in files)),
        made,
        framings=source.framings,
        notes=(
            *_limits(source, table, vocabulary),
            *_otherwise(table, yarn),
            *hyperparameters.notes(source.config, source.model),
        ),
        single=options.shard_bytes is None,
    )


def _table(family: Family) -> GgufNames:
    """Return the family's keys and names in GGUF.

    Raises:
        GrokpackError: GP306 where llama.cpp has no such architecture, or no name for a tensor.
    """
    if family.gguf is None:
        raise GrokpackError("GP306", f"llama.cpp has no architecture for {family.title}")
    nameless = [rule.title for rule in family.rules if rule.part not in family.gguf.tensors]
    if nameless:
        facts = tuple(("tensor", title) for title in nameless)
        what = f"llama.cpp has no names for all tensors of {family.title}"
        raise GrokpackError("GP306", what, None, facts)
    return family.gguf


def _kind(source: Checkpoint, options: GgufOptions) -> GGMLType:
    """Return the requested type, if it can hold the source."""
    if options.type not in KEEPING:
        what = "gguf needs a type" if options.type is None else f"`{options.type}` is no type here"
        raise GrokpackError("GP306", what, hint=f"--type {_offer(source)}")
    if options.embedding is not None and options.embedding not in FLOATS:
        raise UnusableValue.choice("--embedding", options.embedding, FLOATS)
    if options.type == "q8_0":
        _refuse_q8(source)
    return KEEPING[options.type]


def _offer(source: Checkpoint) -> str:
    """Describe types that can hold the source: `q8_0 (336.24 GB) or bf16 (632.0 GB)`."""
    rows = []
    for name, kind in KEEPING.items():
        if kind is GGMLType.Q8_0 and not has_int8_codes(source):
            continue
        nbytes = 0
        for entry in source.model.tensors():
            own = embedding_type(None, kind) if entry.rule.by_token else kind
            nbytes += plain_tensor(source, entry, own)[0].stored.nbytes
        kept = ", the int8 as it is" if kind is GGMLType.Q8_0 else ""
        rows.append(f"{name} ({byte_size(nbytes)}{kept})")
    return f"{', '.join(rows[:-1])} or {rows[-1]}"


def _refuse_q8(source: Checkpoint) -> None:
    for entry in source.model.tensors():
        tensor = source.tensors[entry.name]
        if not entry.rule.quantized:
            continue
        if tensor.scales is None or tensor.values.dtype is not DType.I8:
            held = tensor.values.dtype.label
            what = f"q8_0 re-packages int8 codes, and {tensor.name} is {held}, not exact in it"
            keeping = held if held in FLOATS else "f32"
            hint = f"--type {keeping} keeps it; `grokpack quantize --bits 8 --to gguf` rounds it"
            raise GrokpackError("GP306", what, hint=hint)
        groups = collapsed_groups(source.geometry, entry, tensor) or tensor.scales.shape[-2]
        per_group = tensor.values.shape[-2] // groups
        if per_group % Q8_BLOCK:
            what = (
                f"a block of q8_0 has {Q8_BLOCK} weights and one scale, and {tensor.name} has a "
                f"scale for every {per_group}"
            )
            raise GrokpackError("GP306", what, hint="--type bf16, f16 or f32")


def embedding_type(given: str | None, kind: GGMLType) -> GGMLType:
    """Return the embedding's type: bfloat16, as xAI's code casts it, unless given."""
    return KEEPING[given or ("f32" if kind is GGMLType.F32 else "bf16")]


def plain_tensor(source: Checkpoint, entry: ModelTensor, kind: GGMLType) -> tuple[TensorInfo, Op]:
    """Make a tensor in floating point, or in blocks of the released codes and scales."""
    tensor = source.tensors[entry.name]
    groups = collapsed_groups(source.geometry, entry, tensor)
    if kind is GGMLType.Q8_0 and entry.rule.quantized:
        *lead, inputs, outputs = tensor.values.shape
        return TensorInfo(kind, (*lead, outputs, inputs)), PackQ8(tensor, groups)
    dtype = FLOATS["f32"] if kind is GGMLType.Q8_0 else kind.stored
    spec, op = engine_array(entry, tensor, dtype, groups=groups)
    return TensorInfo(GGMLType[spec.dtype.name], spec.shape), op


def _groups(infos: dict[str, TensorInfo], shard_bytes: int | None) -> list[dict[str, TensorInfo]]:
    if shard_bytes is None:
        return [infos]
    sizes = {name: info.stored.nbytes for name, info in infos.items()}
    return [{name: infos[name] for name in names} for names in shards(sizes, shard_bytes)]


def _paths(family: Family, kind: GGMLType | Mix, count: int) -> list[str]:
    """Name the files of a split as llama.cpp does; a single file is named by the user."""
    stem = f"{family.name}-{kind.word}"
    if count == 1:
        return [f"{stem}.gguf"]
    return [f"{stem}-{number + 1:05d}-of-{count:05d}.gguf" for number in range(count)]


def _add_keys(
    writer: Any,  # noqa: ANN401  # gguf.GGUFWriter
    source: Checkpoint,
    table: GgufNames,
    kind: GGMLType | Mix,
    vocabulary: GgufVocabulary | None,
) -> None:
    own = source.model.family.publication
    words = source.model.family.title.split("-")
    writer.add_name(" ".join(words) if source.model.is_release else words[0])
    writer.add_organization(own.organization)
    writer.add_license(own.license)
    if own.license_name:
        writer.add_license_name(own.license_name)
        writer.add_license_link(f"{own.url}/blob/main/LICENSE")
    writer.add_repo_url(own.url)
    writer.add_file_type(kind.file_type)
    writer.add_quantization_version(_QUANTIZATION_VERSION)
    _add_numbers(writer, source, table)
    if vocabulary is None:
        writer.add_tokenizer_model("no_vocab")
        writer.add_vocab_size(source.geometry.vocab)
        return
    vocabulary.add_to(writer)


def _add_numbers(writer: Any, source: Checkpoint, table: GgufNames) -> None:  # noqa: ANN401
    """Add dimensions and constants by the family's keys; whole numbers as uint32."""
    known = hyperparameters.read(source.config, source.model)
    family, geometry, below = source.model.family, source.geometry, table.architecture
    for key, name in dimension_keys(family.dimensions).items():
        writer.add_uint32(f"{below}.{key}", getattr(geometry, name))
    if geometry.scale_groups is not None:
        writer.add_uint32("grokpack.scale_groups", geometry.scale_groups)
    for key, name in constant_keys(family.hyperparameters).items():
        number = getattr(known, name)
        add = writer.add_uint32 if isinstance(number, int) else writer.add_float32
        add(f"{below}.{key}", number)
    for key, number in table.fixed.items():
        writer.add_float32(f"{below}.{key}", number)


def _yarn(source: Checkpoint, table: GgufNames) -> dict[str, float]:
    """Return the numbers of YaRN by key, from the source's config or else the release's.

    Raises:
        GrokpackError: GP304 for a family that has none.
    """
    family = source.model.family
    if not table.yarn:
        raise GrokpackError("GP304", f"--yarn: there are no keys of YaRN for {family.title}")
    return {
        key: hyperparameters.real(source.config, name, family.config[name])
        for key, name in table.yarn.items()
    }


def _add_yarn(writer: Any, table: GgufNames, numbers: Mapping[str, float]) -> None:  # noqa: ANN401
    """Add the keys that switch YaRN on; none for no numbers."""
    below = f"{table.architecture}.{_YARN}"
    if numbers:
        writer.add_string(f"{below}.type", "yarn")
    for key, number in numbers.items():
        if key in _COUNTS:
            writer.add_uint32(f"{below}.{key}", int(number))
        else:
            writer.add_float32(f"{below}.{key}", number)


def _otherwise(table: GgufNames, yarn: Mapping[str, float]) -> list[str]:
    """Return notes on what llama.cpp computes otherwise."""
    said = [f"llama.cpp computes otherwise: {table.otherwise}"] if table.otherwise else []
    if yarn:
        said.append("with these keys llama.cpp rotates by YaRN, which the release does not")
    return said


def _notes(kind: GGMLType, kept: Fidelity) -> list[str]:
    said = list(kept.notes)
    if kind is GGMLType.Q8_0:
        said.insert(0, "int8 codes and their scales are kept exactly")
        if not kept.lossless:
            said.append("`--embedding f32` keeps the embedding too, and the whole is lossless")
    return said


def _limits(source: Checkpoint, table: GgufNames, vocabulary: GgufVocabulary | None) -> list[str]:
    """Return notes on what programs cannot do with the file."""
    said = []
    if vocabulary is None:
        said.append("the file has no vocabulary: it takes token ids only")
    limit = table.limit(source.geometry)
    if limit:
        said.append(f"llama.cpp will not load it: {limit}")
    return said


WRITER = Writer(
    NAME,
    "llama.cpp",
    GgufOptions,
    to_gguf,
    lambda options: f"{options.type}" if options.shard_bytes else f"{options.type}.gguf",
)
