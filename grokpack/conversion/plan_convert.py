"""Write a checkpoint in the format that another program loads, tile by tile.

A target's module is imported when it is asked for: all of them would be a tenth of a second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.conversion.writers.prechecks import float16_notes
from grokpack.conversion.writers.scale_groups import with_groups
from grokpack.core.errors import GrokpackError
from grokpack.models import config_json
from grokpack.planning.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.planning.target import Target


_SGLANG_RANKS = 8  # how many its recipe serves the model on


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """Everything that targets can be told; each uses what concerns it and refuses the rest.

    Attributes:
        names: Convention of tensor names, for `hf`.
        dtype: Dtype of the matrices, for `hf`, `sglang`, `zarr` and `orbax`.
        type: Type of the matrices, for `gguf`.
        embedding: Dtype of the embedding, for `gguf`.
        tp: Tensor-parallel ranks, for `sglang`, `safetensors`, `ckpt-0`, `zarr` and `orbax`.
        shard_bytes: Size that a file keeps to; split `gguf` has it too.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
        compress: `zstd` to compress chunks, for `zarr` and `orbax`.
        out: The output's folder, for `view`, whose contents depend on it; None for the usual one.
    """

    names: str | None = None
    dtype: str | None = None
    type: str | None = None
    embedding: str | None = None
    tp: int | None = None
    shard_bytes: int | None = None
    tokenizer: str | None = None
    compress: str | None = None
    out: str | None = None


@dataclass(frozen=True, slots=True)
class ConvertTarget:
    """One row of the table of targets: the truth for `--to`.

    Attributes:
        title: What it is and who loads it.
        takes: Options that concern it.
        suffix: What a default name ends with, by the options.
        plan: Makes the target.
        needs_heads: Whether it needs the head size.
    """

    title: str
    takes: frozenset[str]
    suffix: Callable[[ConvertOptions], str]
    plan: Callable[[Checkpoint, ConvertOptions], Target]
    needs_heads: bool = True


def _hf(source: Checkpoint, options: ConvertOptions) -> Target:
    from grokpack.conversion.writers import huggingface_writer

    return huggingface_writer.to_hf(
        source,
        huggingface_writer.HuggingFaceOptions(
            **_given(options, "names", "dtype", "shard_bytes", "tokenizer")
        ),
    )


def _sglang(source: Checkpoint, options: ConvertOptions) -> Target:
    from grokpack.conversion.writers import huggingface_writer, sglang_writer

    given = _given(options, "dtype", "shard_bytes", "tokenizer")
    return sglang_writer.to_sglang(
        source,
        options.tp or _SGLANG_RANKS,
        huggingface_writer.HuggingFaceOptions(names="sglang", **given),
    )


def _gguf(source: Checkpoint, options: ConvertOptions) -> Target:
    from grokpack.conversion.writers import gguf_writer

    given = _given(options, "type", "embedding", "tokenizer")
    return gguf_writer.to_gguf(
        source, gguf_writer.GgufOptions(split_bytes=options.shard_bytes, **given)
    )


def _ranks(source: Checkpoint, options: ConvertOptions) -> Target:
    from grokpack.conversion.writers.tp_safetensors_writer import to_ranks
    from grokpack.models.partition import refuse_width

    refuse_width(source.geometry, options.tp or 1)
    return to_ranks(source, options.tp or 1, "auto")


def _ckpt0(source: Checkpoint, options: ConvertOptions) -> Target:
    from grokpack.conversion.writers.ckpt0_writer import to_ckpt0
    from grokpack.models.partition import refuse_width

    tp = options.tp or source.geometry.scale_groups or 1
    refuse_width(source.geometry, tp, "jax")
    # without a width it is the source's own grouping that is kept, whatever may run on it
    return to_ckpt0(source, tp, 1, "auto", forward_only=options.tp is None)


def _zarr(source: Checkpoint, options: ConvertOptions) -> Target:
    from grokpack.conversion.writers import chunked_store_writer
    from grokpack.conversion.writers.zarr_writer import to_zarr

    return to_zarr(
        source,
        chunked_store_writer.ChunkedStoreOptions(
            **_given(options, *chunked_store_writer.ChunkedStoreOptions.__slots__)
        ),
    )


def _orbax(source: Checkpoint, options: ConvertOptions) -> Target:
    from grokpack.conversion.writers import chunked_store_writer
    from grokpack.conversion.writers.orbax_writer import to_orbax

    return to_orbax(
        source,
        chunked_store_writer.ChunkedStoreOptions(
            **_given(options, *chunked_store_writer.ChunkedStoreOptions.__slots__)
        ),
    )


def _archive(source: Checkpoint, _: ConvertOptions) -> Target:
    from grokpack.conversion.writers.archive_writer import to_archive

    return to_archive(source)


def _files(source: Checkpoint, _: ConvertOptions) -> Target:
    from grokpack.conversion.writers.archive_writer import to_files

    return to_files(source)


def _view(source: Checkpoint, options: ConvertOptions) -> Target:
    from grokpack.conversion.writers.virtual_store_writer import to_view

    return to_view(source, options.out)


def _given(options: ConvertOptions, *names: str) -> dict[str, Any]:
    """Options that were given, so that a target's own defaults hold for the others."""
    values = ((name, getattr(options, name)) for name in names)
    return {name: value for name, value in values if value is not None}


TARGETS: dict[str, ConvertTarget] = {
    "hf": ConvertTarget(
        "Hugging Face folder: transformers, vLLM up to 0.24, SGLang, llama.cpp's converter",
        frozenset({"names", "dtype", "shard_bytes", "tokenizer"}),
        lambda o: "-".join(["hf", *_unusual(o.names, "hpcai"), *_unusual(o.dtype, "bf16")]),
        _hf,
    ),
    "sglang": ConvertTarget(
        "presharded files for SGLang at exactly --tp ranks",
        frozenset({"tp", "dtype", "shard_bytes", "tokenizer"}),
        lambda o: f"sglang-tp{o.tp or _SGLANG_RANKS}",
        _sglang,
    ),
    "gguf": ConvertTarget(
        "llama.cpp",
        frozenset({"type", "embedding", "shard_bytes", "tokenizer"}),
        lambda o: f"{o.type}" if o.shard_bytes else f"{o.type}.gguf",
        _gguf,
    ),
    "safetensors": ConvertTarget(
        "xAI's names, int8 and scales as they are; `reshard` cuts it for ranks",
        frozenset({"tp"}),
        lambda o: f"tp{o.tp or 1}",
        _ranks,
    ),
    "ckpt-0": ConvertTarget(
        "xAI's pickles: what its JAX code loads",
        frozenset({"tp"}),
        lambda _: "ckpt-0",
        _ckpt0,
    ),
    "zarr": ConvertTarget(
        "zarr 3 folder: TensorStore, zarr-python; sharded by rank, with checksums",
        frozenset({"dtype", "tp", "shard_bytes", "compress"}),
        lambda o: "-".join(["zarr", *_unusual(o.dtype, ""), *_unusual(o.compress, "")]),
        _zarr,
    ),
    "orbax": ConvertTarget(
        "checkpoint of xAI's pytree that Orbax restores, on any mesh of devices",
        frozenset({"dtype", "tp", "shard_bytes", "compress"}),
        lambda o: "-".join(["orbax", *_unusual(o.dtype, ""), *_unusual(o.compress, "")]),
        _orbax,
    ),
    "archive": ConvertTarget(
        "its own files, compressed; every command reads them in place",
        frozenset(),
        lambda _: "archive",
        _archive,
    ),
    "files": ConvertTarget(
        "its own files as they are; what an archive was made of",
        frozenset(),
        lambda _: "files",
        _files,
    ),
    "view": ConvertTarget(
        "an index that opens the files as they lie in any TensorStore program, nothing copied",
        frozenset({"out"}),
        lambda _: "view",
        _view,
        needs_heads=False,
    ),
}


def plan_convert(source: Checkpoint, to: str, options: ConvertOptions | None = None) -> Plan:
    """Plan a conversion.

    Args:
        source: Any checkpoint that grokpack reads.
        to: Name of a target, one of `TARGETS`.
        options: What the target is told.

    Raises:
        GrokpackError: GP304 for an unknown target or an option that is not its own, GP211 where
            the head size is unknown, and what the target refuses.
    """
    options = options or ConvertOptions()
    kind = TARGETS.get(to)
    if kind is None:
        raise _no_target(to)
    _refuse_foreign(kind, to, options)
    if source.geometry.head_dim is None and kind.needs_heads:
        raise config_json.unknown_head_size()
    source = with_groups(source)
    target = kind.plan(source, options)
    target = replace(target, notes=(*target.notes, *float16_notes(source, target.ops)))
    given = _given(options, *(ConvertOptions.__slots__))
    for path in ("tokenizer", "out"):
        given.pop(path, None)  # what is there, or depends on it, is in the digest
    return Plan("convert", {"to": to, **given}, source, target)


def _unusual(given: str | None, usual: str) -> list[str]:
    """A part of a name that says what is not as by default."""
    return [] if given in (None, usual) else [str(given)]


def _no_target(to: str) -> GrokpackError:
    what = f"there is no target `{to}`; --to takes" if to else "convert needs a target; --to takes"
    facts = tuple((name, kind.title) for name, kind in TARGETS.items())
    return GrokpackError("GP304", what, None, facts, "`grokpack convert --help` has the options")


def _refuse_foreign(kind: ConvertTarget, to: str, options: ConvertOptions) -> None:
    foreign = [
        name for name in _given(options, *ConvertOptions.__slots__) if name not in kind.takes
    ]
    if foreign:
        flags = ", ".join(
            f"--{name.replace('_bytes', '-size').replace('_', '-')}" for name in foreign
        )
        raise GrokpackError("GP304", f"{flags} does not belong to --to {to}")
