"""`grokpack reshard`: cut a checkpoint for another number of ranks."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from grokpack.cli import options
from grokpack.cli.session import session
from grokpack.core.errors import GrokpackError

_SCALES = ("auto", "expanded", "bf16-weights")


def reshard(
    source: options.Source = None,
    tp: Annotated[int, typer.Option("--tp", help="Tensor-parallel ranks: 1, 2, 4, 8 or 16")] = 8,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="safetensors|ckpt-0",
            help="Folders per rank, or what xAI's JAX code loads",
        ),
    ] = "safetensors",
    hosts: Annotated[
        int, typer.Option("--hosts", help="Processes that share a ckpt-0: tensorNNNNN_HHH for each")
    ] = 1,
    scales: Annotated[
        str,
        typer.Option(
            "--scales",
            metavar="auto|expanded|bf16-weights",
            help="auto is exact and as compact as the target allows; bf16-weights rounds once",
        ),
    ] = "auto",
    forward_only: Annotated[
        bool,
        typer.Option("--forward-only", help="Allow a ckpt-0 with more ranks than key/value heads"),
    ] = False,
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
    """Cut a checkpoint for tensor parallelism.

    Streams it, and changes no value unless --scales asks for it. The same command continues a
    run that was stopped.
    """
    with session(
        "reshard",
        fmt=fmt,
        json=json,
        progress=progress,
        report=report,
        quiet=quiet,
        verbose=verbose,
        color=color,
    ) as current:
        from grokpack.checkpoint.open_checkpoint import open_checkpoint
        from grokpack.cli.run_plan import Terms, absolute, carry_out
        from grokpack.cli.source import default_out, resolve, verifying
        from grokpack.conversion.plan_reshard import plan_reshard
        from grokpack.conversion.writers.scale_groups import Scales

        if scales not in _SCALES:
            raise GrokpackError("GP304", f"--scales takes {', '.join(_SCALES)}")
        path = resolve(source, current)
        plan = plan_reshard(
            open_checkpoint(path, head_dim),
            tp,
            to,
            hosts=hosts,
            scales=cast("Scales", scales),
            forward_only=forward_only,
        )
        suffix = f"tp{tp}" if to == "safetensors" else f"tp{tp}-ckpt-0"
        target = absolute(out, default_out(path, suffix))
        carry_out(
            current,
            plan,
            target,
            Terms(workers, memory, max_duration, dry_run, restart, part, require_complete),
            following=verifying(target),
        )
