"""`grokpack convert`: write the format that another program loads."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from grokpack.cli import options
from grokpack.cli.session import session


def convert(
    source: options.Source = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="hf, sglang, gguf, safetensors, ckpt-0, zarr, orbax, archive, files or view",
        ),
    ] = "",
    names: Annotated[
        str | None,
        typer.Option(
            "--names",
            metavar="hpcai|sglang|keyfan",
            help="hf: whose tensor names; hpcai by default",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="bf16|f16|f32",
            help="hf, sglang: of the matrices; bf16 by default. zarr, orbax: bf16 dequantises",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--type", metavar="q8_0|bf16|f16|f32", help="gguf: of the matrices"),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(
            "--embedding",
            metavar="bf16|f16|f32",
            help="gguf: of the embedding; bf16 by default, f32 with --type f32",
        ),
    ] = None,
    tp: Annotated[
        int | None,
        typer.Option("--tp", help="sglang, safetensors, ckpt-0, zarr, orbax: ranks"),
    ] = None,
    shard_size: Annotated[
        str | None,
        typer.Option(
            "--shard-size",
            "--split",
            metavar="SIZE",
            help="hf, sglang: largest file, 5GB by default; zarr, orbax: 256MiB; "
            "gguf: split into files of this size",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="PATH",
            help="its file or folder, or `none`; looked for beside SRC by default",
        ),
    ] = None,
    compress: Annotated[
        str | None,
        typer.Option("--compress", metavar="zstd", help="zarr, orbax: compress each chunk"),
    ] = None,
    out: options.Out = None,
    head_dim: options.HeadDim = None,
    workers: options.Workers = None,
    memory: options.Memory = "512MiB",
    max_duration: options.MaxDuration = None,
    part: options.Part = None,
    require_complete: options.RequireComplete = False,
    dry_run: options.DryRun = False,
    restart: options.Restart = False,
    fmt: options.Format = "auto",
    json: options.Json = False,
    progress: options.Progress = "auto",
    report: options.Report = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> None:
    """Write the format that another program loads.

    Goes straight from int8 and scales to the target, streamed.
    """
    with session(
        "convert",
        fmt=fmt,
        json=json,
        progress=progress,
        report=report,
        quiet=quiet,
        verbose=verbose,
        color=color,
    ) as current:
        from grokpack.checkpoint.open_checkpoint import open_checkpoint
        from grokpack.cli import parsing
        from grokpack.cli.run_plan import Terms, absolute, carry_out
        from grokpack.cli.source import default_out, resolve, verifying
        from grokpack.conversion.plan_convert import TARGETS, ConvertOptions, plan_convert
        from grokpack.conversion.writers import virtual_store_writer

        chosen = ConvertOptions(
            names=names,
            dtype=dtype,
            type=kind,
            embedding=embedding,
            tp=tp,
            shard_bytes=parsing.parse_bytes(shard_size) if shard_size else None,
            tokenizer=tokenizer or None,
            compress=compress,
        )
        path = resolve(source, current)
        checkpoint = open_checkpoint(path, head_dim)
        if to == virtual_store_writer.NAME:
            chosen = replace(chosen, out=absolute(out, virtual_store_writer.beside(checkpoint)))
        plan = plan_convert(checkpoint, to, chosen)
        target = chosen.out or absolute(out, default_out(path, TARGETS[to].suffix(chosen)))
        carry_out(
            current,
            plan,
            target,
            Terms(workers, memory, max_duration, dry_run, restart, part, require_complete),
            following=verifying(target),
            opens=virtual_store_writer.opens(checkpoint, target)
            if to == virtual_store_writer.NAME
            else None,
        )
