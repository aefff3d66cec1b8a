"""`grokpack reshard`: cut a checkpoint for another number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from grokpack.cli import options
from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.conversion.writers import writer_registry


@dataclass(frozen=True, slots=True)
class ReshardFlags:
    """Options of `grokpack reshard`, as they are given."""

    source: options.Source = None
    tp: Annotated[int, typer.Option("--tp", help="Tensor-parallel ranks")] = 8
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="|".join(writer_registry.RESHARDING),
            autocompletion=options.completing(writer_registry.RESHARDING),
            help="Folders per rank, what xAI's JAX code loads, or SGLang; as released by default",
        ),
    ] = None
    hosts: Annotated[
        int, typer.Option("--hosts", help="Processes that share a ckpt-0: tensorNNNNN_HHH for each")
    ] = 1
    scales: Annotated[
        Literal["auto", "expanded", "bf16-weights"],
        typer.Option(
            "--scales",
            help="auto is exact and as compact as the target allows; bf16-weights rounds once",
        ),
    ] = "auto"
    forward_only: Annotated[
        bool,
        typer.Option("--forward-only", help="Allow a ckpt-0 with more ranks than key/value heads"),
    ] = False
    out: options.Out = None
    head_dim: options.HeadDim = None


@command(
    "reshard",
    "reshard ckpt-0 --tp 8",
    "reshard ckpt-0 --tp 4 --to ckpt-0 -o grok-1-tp4",
    "reshard hf://xai-org/grok-2 --tp 4 -o grok-2-tp4 --dry-run",
)
def reshard(session: Session, flags: ReshardFlags, run: options.PartedRunFlags) -> None:
    """Cut a checkpoint for tensor parallelism.

    Streams it, and changes no value unless --scales asks for it. The same command continues a
    run that was stopped.
    """
    from grokpack.checkpoint.open_checkpoint import open_checkpoint
    from grokpack.cli.run_plan import carry_out, output_path
    from grokpack.cli.source_path import default_out, resolve, verifying
    from grokpack.conversion.plan_reshard import plan_reshard

    path = resolve(flags.source, session)
    plan = plan_reshard(
        open_checkpoint(path, flags.head_dim),
        flags.tp,
        flags.to,
        hosts=flags.hosts,
        scales=flags.scales,
        forward_only=flags.forward_only,
    )
    suffix = writer_registry.resharding(plan.parameters["to"]).suffix(flags.tp)
    target = output_path(flags.out, default_out(path, suffix))
    carry_out(session, plan, target, run, following=verifying(target))
