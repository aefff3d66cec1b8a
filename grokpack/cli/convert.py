"""`grokpack convert`: write the format that another program loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from grokpack.cli import options, target_options
from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.conversion.writers import writer_registry
from grokpack.core import ggml_types

if TYPE_CHECKING:
    from grokpack.conversion.plan_convert import ConvertOptions


@dataclass(frozen=True, slots=True)
class ConvertFlags:
    """Options of `grokpack convert`, as they are given."""

    source: options.Source = None
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            help=writer_registry.in_words(writer_registry.LOSSLESS),
            autocompletion=options.completing(writer_registry.LOSSLESS),
        ),
    ] = ""
    names: target_options.Names = None
    dtype: Annotated[
        Literal["bf16", "f16", "f32"] | None,
        typer.Option(
            "--dtype",
            help="hf, sglang: of the matrices; bf16 by default. zarr, orbax: bf16 dequantizes",
        ),
    ] = None
    type: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="|".join(ggml_types.KEEPING),
            autocompletion=options.completing(ggml_types.KEEPING),
            help="gguf: of the matrices",
        ),
    ] = None
    embedding: Annotated[
        Literal["bf16", "f16", "f32"] | None,
        typer.Option(
            "--embedding",
            help="gguf: of the embedding; bf16 by default, f32 with --type f32",
        ),
    ] = None
    tp: Annotated[
        int | None,
        typer.Option("--tp", help="sglang, safetensors, ckpt-0, zarr, orbax: ranks"),
    ] = None
    shard_size: Annotated[
        str | None,
        typer.Option(
            "--shard-size",
            "--split",
            metavar="SIZE",
            help="hf, sglang: largest file, 5GB by default; zarr, orbax: 256MiB; "
            "gguf: split into files of this size",
        ),
    ] = None
    tokenizer: target_options.Tokenizer = None
    compress: Annotated[
        Literal["zstd"] | None,
        typer.Option("--compress", help="zarr, orbax: compress each chunk"),
    ] = None
    yarn: target_options.Yarn = False
    out: options.Out = None
    head_dim: options.HeadDim = None

    def chosen(self) -> ConvertOptions:
        """Return the options of the target, without its folder."""
        from grokpack.conversion.plan_convert import ConvertOptions

        return ConvertOptions(
            names=self.names,
            dtype=self.dtype,
            type=self.type,
            embedding=self.embedding,
            tp=self.tp,
            shard_bytes=target_options.shard_bytes(self.shard_size),
            tokenizer=self.tokenizer,
            compress=self.compress,
            yarn=self.yarn or None,
        )


@command(
    "convert",
    "convert ckpt-0 --to gguf --type q8_0",
    "convert grok-2 --to hf -o grok-2-merged",
    "convert ckpt-0 --to view",
)
def convert(session: Session, flags: ConvertFlags, run: options.PartedRunFlags) -> None:
    """Write the format that another program loads.

    Goes straight from the stored values to the target, streamed.
    """
    from grokpack.checkpoint.open_checkpoint import open_checkpoint
    from grokpack.cli.run_plan import carry_out, output_path
    from grokpack.cli.source_path import default_out, resolve, verifying
    from grokpack.conversion.plan_convert import default_suffix, plan_convert, writer_of

    chosen = flags.chosen()
    path = resolve(flags.source, session)
    checkpoint = open_checkpoint(path, flags.head_dim)
    writer = writer_of(flags.to)
    if writer.beside is not None:
        target = output_path(flags.out, writer.beside(checkpoint))
        chosen = replace(chosen, out=target)
    else:
        target = output_path(flags.out, default_out(path, default_suffix(flags.to, chosen)))
    plan = plan_convert(checkpoint, flags.to, chosen)
    opens = writer.opens(checkpoint, target) if writer.opens is not None else None
    carry_out(session, plan, target, run, following=verifying(target), opens=opens)
