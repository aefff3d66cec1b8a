"""Plans of `grokpack convert`: a checkpoint in the format that another program loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.open_checkpoint import opened
from grokpack.conversion.carried_files import carried
from grokpack.conversion.writers import writer_registry
from grokpack.conversion.writers.exactness_checks import float16_notes
from grokpack.conversion.writers.scale_groups import with_groups
from grokpack.conversion.writers.writer_row import option_names, options_for
from grokpack.core.errors import GrokpackError, UnusableValue, WrongUsage
from grokpack.models import config_json
from grokpack.planning.plan import Plan

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.writer_row import Writer
    from grokpack.core.paths import StrPath


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """Options of all targets. Each target uses its own and refuses the others.

    Attributes:
        names: Convention of tensor names, for `hf`.
        dtype: Dtype of the matrices, for `hf`, `sglang`, `zarr` and `orbax`.
        type: Type of the matrices, for `gguf`.
        embedding: Dtype of the embedding, for `gguf`.
        tp: Tensor-parallel ranks, for `sglang`, `safetensors`, `ckpt-0`, `zarr` and `orbax`.
        shard_bytes: Maximum size of a file, also of a split `gguf`.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
        compress: `zstd` to compress chunks, for `zarr` and `orbax`.
        yarn: True for the keys of YaRN, for `gguf` of a family that has them.
        out: The output's folder, for `view`, whose contents depend on it; None for the usual one.
    """

    names: str | None = None
    dtype: str | None = None
    type: str | None = None
    embedding: str | None = None
    tp: int | None = None
    shard_bytes: int | None = None
    tokenizer: StrPath | None = None
    compress: str | None = None
    yarn: bool | None = None
    out: StrPath | None = None


def plan_convert(
    source: Checkpoint | StrPath, to: str, options: ConvertOptions | None = None
) -> Plan:
    """Plan a conversion.

    Args:
        source: Any checkpoint that grokpack reads, or its path.
        to: Name of a target, as `--to` takes it.
        options: Options of the target.

    Raises:
        GrokpackError: GP346 for an unknown target, GP304 for an option that is not its own,
            GP211 where the head size is unknown, and the target's own refusals.
    """
    options = options or ConvertOptions()
    writer = writer_of(to)
    _refuse_foreign(writer, options)
    source = opened(source)
    if source.geometry.head_dim is None and writer.needs_head_size:
        raise config_json.unknown_head_size(source.model.family)
    source = with_groups(source)
    target = writer.make(source, options_for(writer, options))
    target = replace(target, notes=(*target.notes, *float16_notes(source, target.ops)))
    target = carried(source, target, tokenizer="tokenizer" not in option_names(writer))
    given = _given(options)
    for path in ("tokenizer", "out"):
        given.pop(path, None)  # the digest covers what is there or depends on it
    return Plan("convert", {"to": to, **given}, source, target)


def writer_of(to: str) -> Writer[Any]:
    """Return the writer of a target.

    Raises:
        GrokpackError: GP346 for an unknown one.
    """
    if to not in writer_registry.LOSSLESS:
        raise _no_target(to)
    return writer_registry.lossless(to)


def default_suffix(to: str, options: ConvertOptions) -> str:
    """Return the ending of an output's default name: `hf-keyfan`, `q8_0.gguf`."""
    writer = writer_of(to)
    return writer.suffix(options_for(writer, options))


def _given(options: ConvertOptions) -> dict[str, Any]:
    """Select the options that were given, so that a writer's defaults hold for the others."""
    values = ((name, getattr(options, name)) for name in ConvertOptions.__slots__)
    return {name: value for name, value in values if value is not None}


def _no_target(to: str) -> GrokpackError:
    if to:
        return UnusableValue.choice("--to", to, writer_registry.LOSSLESS)
    facts = tuple((name, writer_registry.lossless(name).title) for name in writer_registry.LOSSLESS)
    hint = "`grokpack convert --help` has the options"
    return WrongUsage("convert needs a target; --to takes", None, facts, hint)


def _refuse_foreign(writer: Writer[Any], options: ConvertOptions) -> None:
    known = option_names(writer)
    foreign = [name for name in _given(options) if name not in known]
    if foreign:
        flags = ", ".join(
            f"--{name.replace('_bytes', '-size').replace('_', '-')}" for name in foreign
        )
        raise GrokpackError("GP304", f"{flags} does not belong to --to {writer.name}")
