"""Table of what programs serve a model from: each format's bytes of a tensor, and its command.

Sizes are those of the arrays that the writers lay out, without reading anything; a test compares
both. Sources for who loads what: `engine_support`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from grokpack.checkpoint import summary
from grokpack.conversion.writers import gguf_mixes
from grokpack.conversion.writers.huggingface_config import head_copies
from grokpack.conversion.writers.scale_groups import has_int8_codes
from grokpack.core.ggml_types import MIXES, QUANTIZING, GGMLType, Mix, base_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.family import Model

    TensorBytes = Callable[[ModelTensor], int]
    MatrixBytes = Callable[[int, int], int]
    Words = Callable[[int], str]

Split = Literal["tensors", "layers"]
"""Ways to share a model among devices: a slice of every matrix each, or whole layers."""

_COARSE = 8
_GROUP, _FP8_BLOCK, _MX_BLOCK, _NV_BLOCK = 128, 128, 32, 16


@dataclass(frozen=True, slots=True)
class ServingFormat:
    """Format from which a program serves the model.

    Attributes:
        name: Its name for people.
        program: The program; empty where none is known to serve it as stored.
        split: How devices share the model.
        tensor_bytes: Bytes of a tensor.
        command: Command and options that write it for devices of a number; empty for a number
            that it cannot be written for. None for the source itself.
        exact: True if it keeps the source's weights, or bfloat16 of them as xAI's code has them.
        copies_head: True if the output head is stored beside the embedding that it equals.
        ranks: The one number of devices that its files are cut for; None for any.
    """

    name: str
    program: str
    split: Split
    tensor_bytes: TensorBytes
    command: Words | None
    exact: bool = False
    copies_head: bool = False
    ranks: int | None = None


def serving_formats(source: Checkpoint) -> Iterator[ServingFormat]:
    """Yield the source itself, then every format for serving that can be made of it."""
    yield _as_it_is(source)
    coarse = min(source.bits.values(), default=_COARSE) < _COARSE
    yield from _plain(source)
    if not coarse:
        yield from _quantized(source)
    if source.model.family.gguf is not None:
        yield from _gguf(source, coarse=coarse)


def _as_it_is(source: Checkpoint) -> ServingFormat:
    sizes = summary.tensor_bytes(source)

    def tensor_bytes(entry: ModelTensor) -> int:
        return sizes.get(entry.name) or source.model.spec(entry).nbytes  # missing, as released

    program = {"ckpt-0": "xAI's JAX code", "gguf": "llama.cpp"}.get(source.format, "")
    split: Split = "layers" if source.format == "gguf" else "tensors"
    ranks = source.ranks if source.ranks > 1 else None
    return ServingFormat("as it is", program, split, tensor_bytes, None, exact=True, ranks=ranks)


def _plain(source: Checkpoint) -> Iterator[ServingFormat]:
    """Yield folders in bfloat16."""
    model, size = source.model, _folder_bytes(source.model, lambda i, o: 2 * i * o)
    sglang = model.family.conventions.get("sglang")
    if sglang is not None:
        copied = bool(head_copies(model, sglang))
        words = "convert --to sglang --tp {}".format
        yield ServingFormat(
            "bf16", "SGLang", "tensors", size, words, exact=True, copies_head=copied
        )
    yield ServingFormat("bf16", "vLLM", "tensors", size, _always("convert --to hf"), exact=True)


def _quantized(source: Checkpoint) -> Iterator[ServingFormat]:
    """Yield folders of quantized weights whose groups and blocks divide the model's matrices."""
    model, coded = source.model, has_int8_codes(source)
    sglang = model.family.conventions.get("sglang")
    if sglang is not None:
        copied = bool(head_copies(model, sglang))

        def w8a8(width: int) -> str:
            return _w8a8_command(model, width, coded=coded)

        def fp8(width: int) -> str:
            return _fp8_command(model, width)

        int8, e4m3 = _folder_bytes(model, _w8a8), _folder_bytes(model, _fp8)
        yield ServingFormat("int8", "SGLang", "tensors", int8, w8a8, copies_head=copied)
        yield ServingFormat("fp8", "SGLang", "tensors", e4m3, fp8, copies_head=copied)
    grouped = (
        ("int8", "vLLM", _gptq8, "quantize --bits 8", _GROUP),
        ("int4", "vLLM", _int4, "quantize --bits 4", _GROUP),
        ("nvfp4", "vLLM", _nvfp4, "quantize --to nvfp4", _NV_BLOCK),
        ("mxfp4", "vLLM", _mxfp4, "quantize --to mxfp4", _MX_BLOCK),
    )
    for name, program, matrix, words, group in grouped:
        if _divides(model, group):
            exact = coded and matrix is _gptq8
            size = _folder_bytes(model, matrix)
            yield ServingFormat(name, program, "tensors", size, _always(words), exact=exact)


def _gguf(source: Checkpoint, *, coarse: bool) -> Iterator[ServingFormat]:
    """Yield GGUF types and mixes whose blocks divide the model's rows."""
    model, coded = source.model, has_int8_codes(source)
    made: list[tuple[GGMLType | Mix, str, bool]] = [
        (GGMLType.BF16, "convert --to gguf --type bf16", True)
    ]
    if coded:
        made.append((GGMLType.Q8_0, "convert --to gguf --type q8_0", True))
    if not coarse:
        known = QUANTIZING | MIXES
        made += [
            (kind, f"quantize --to gguf --type {word}", False)
            for word, kind in known.items()
            if not (coded and kind is GGMLType.Q8_0)
        ]
    for kind, words, exact in made:
        if isinstance(kind, Mix) or _divides(model, base_type(kind).weights):
            size = _gguf_bytes(model, kind)
            yield ServingFormat(kind.word, "llama.cpp", "layers", size, _always(words), exact=exact)


def _always(words: str) -> Words:
    """Return the command that is the same for any number of devices."""
    return lambda _: words


def _folder_bytes(model: Model, matrix: MatrixBytes) -> TensorBytes:
    """Return the bytes of a tensor in a folder: codes with scales, bfloat16, or as released."""
    precise = model.family.release_layout.others.itemsize

    def size(entry: ModelTensor) -> int:
        shape, rule = model.geometry.shape(entry.rule), entry.rule
        if rule.quantized:
            return math.prod(shape[:-2]) * matrix(*shape[-2:])
        return math.prod(shape) * (2 if rule.by_token else precise)

    return size


def _gguf_bytes(model: Model, kind: GGMLType | Mix) -> TensorBytes:
    """Return the bytes of a tensor in a GGUF of a type or mix; router and norms in float32."""

    def own(entry: ModelTensor) -> GGMLType:
        if entry.rule.role in ("router", "norm"):
            return GGMLType.F32
        if isinstance(kind, Mix):
            return gguf_mixes.mixed_type(kind, entry, model)
        return GGMLType.BF16 if entry.rule.by_token else kind

    def size(entry: ModelTensor) -> int:
        used = own(entry)
        return math.prod(model.geometry.shape(entry.rule)) // used.weights * used.nbytes

    return size


def _divides(model: Model, group: int) -> bool:
    shapes = (model.geometry.shape(rule) for rule in model.family.rules if rule.quantized)
    return all(shape[-2] % group == 0 for shape in shapes)


def _w8a8(inputs: int, outputs: int) -> int:
    return inputs * outputs + 4 * outputs


def _fp8(inputs: int, outputs: int) -> int:
    return inputs * outputs + 4 * -(-inputs // _FP8_BLOCK) * -(-outputs // _FP8_BLOCK)


def _gptq8(inputs: int, outputs: int) -> int:
    """Codes; scales in bfloat16, and zero points, of each group; the group of each input."""
    groups = inputs // _GROUP
    return inputs * outputs + (2 + 1) * groups * outputs + 4 * inputs


def _int4(inputs: int, outputs: int) -> int:
    """Codes, scales in bfloat16, and the matrix's shape as two integers."""
    return inputs * outputs // 2 + 2 * (inputs // _GROUP) * outputs + 16


def _nvfp4(inputs: int, outputs: int) -> int:
    return inputs * outputs // 2 + inputs // _NV_BLOCK * outputs + 4


def _mxfp4(inputs: int, outputs: int) -> int:
    return inputs * outputs // 2 + inputs // _MX_BLOCK * outputs


def _w8a8_command(model: Model, width: int, *, coded: bool) -> str:
    """Return the command for a width: scale groups of the source fit one width only."""
    cut = width == model.geometry.scale_groups or not coded
    return f"quantize --bits 8 --to w8a8-int8 --tp {width if cut else 1}"


def _fp8_command(model: Model, width: int) -> str:
    """Return the command for a width; none where ranks would cut blocks."""
    geometry = model.geometry
    for rule in model.family.rules:
        if rule.quantized:
            inputs, outputs = geometry.shape(rule)[-2:]
            ranks = min(width, geometry.kv_heads or width) if rule.dims[-1] == "kv_width" else width
            length = inputs // width if rule.cut == "rows" else outputs // ranks
            if width > 1 and length % _FP8_BLOCK:
                return ""
    return "quantize --to fp8" + (f" --tp {width}" if width > 1 else "")
