"""`grokpack quantize`: write a 4-bit or 8-bit copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grokpack.cli import options
from grokpack.cli.session import session


def quantize(
    source: options.Source = None,
    bits: Annotated[int, typer.Option("--bits", metavar="4|8", help="Bits of a weight")] = 4,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="compressed-tensors (of 4 bits the default), gptq (of 8 bits), w8a8-int8, gguf, "
            "ckpt-0 or safetensors",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="32|64|128|256|channel",
            help="Inputs that share a scale; 128 by default",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="rtn|mse|lsq",
            help="How scales are found; mse by default for 4 bits, rtn for 8",
        ),
    ] = None,
    asymmetric: Annotated[
        bool, typer.Option("--asymmetric", help="compressed-tensors: with zero points")
    ] = False,
    scales: Annotated[
        str | None,
        typer.Option(
            "--scale-dtype",
            metavar="bf16|f16|f32",
            help="compressed-tensors, gptq, safetensors: of the scales; bf16 by default",
        ),
    ] = None,
    importance: Annotated[
        str | None,
        typer.Option(
            "--importance",
            metavar="FILE",
            help="Weigh errors by what `evaluate --calibrate` saw; for mse and lsq",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="NAME",
            help="Leave in bf16: `attention`, `experts`, or names as `inspect` takes them; may be "
            "repeated",
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Bits by role, name and layer, in TOML"),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="llama.cpp|vllm|sglang|transformers",
            help="Refuse what this program does not load",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="q4_0|q4_1|q4_k|q8_0",
            help="gguf: type of the blocks; q4_0 or q8_0 by default",
        ),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option("--embedding", metavar="bf16|f16|f32", help="gguf: dtype of the embedding"),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            "--names", metavar="hpcai|sglang|keyfan", help="Tensor names; hpcai by default"
        ),
    ] = None,
    tp: Annotated[
        int | None,
        typer.Option("--tp", help="w8a8-int8, ckpt-0: ranks"),
    ] = None,
    shard_size: Annotated[
        str | None,
        typer.Option("--shard-size", metavar="SIZE", help="Largest file, 5GB by default"),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="PATH",
            help="tokenizer.model or its folder; looked for beside SRC by default",
        ),
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
    """Write a 4-bit or 8-bit copy.

    Says what was lost, tensor by tensor.
    """
    with session(
        "quantize",
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
        from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize

        chosen = QuantizeOptions(
            bits=bits,
            to=to,
            group=group,
            method=method,
            symmetric=not asymmetric,
            scales=scales,
            keep=tuple(keep or ()),
            policy=str(policy) if policy else None,
            engine=engine,
            type=kind,
            embedding=embedding,
            names=names,
            tp=tp,
            shard_bytes=parsing.parse_bytes(shard_size) if shard_size else None,
            tokenizer=tokenizer or None,
            importance=importance,
        )
        path = resolve(source, current)
        plan = plan_quantize(open_checkpoint(path, head_dim), chosen)
        target = absolute(out, default_out(path, chosen.suffix))
        carry_out(
            current,
            plan,
            target,
            Terms(workers, memory, max_duration, dry_run, restart, part, require_complete),
            following=verifying(target),
        )
