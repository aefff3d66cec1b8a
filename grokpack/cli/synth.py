"""`grokpack synth`: synthetic checkpoints in the release's format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from grokpack.cli import options
from grokpack.cli.session import session
from grokpack.core.errors import GrokpackError

_DIMENSION = "Dimensions (override the preset)"


def _dimension(flag: str, text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        flag, min=1, help=text, rich_help_panel=_DIMENSION
    )
    return option


def synth(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write; gets a ckpt-0 in it")
    ],
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            metavar="tiny|small|medium|real-layer|grok-1",
            help="5 MB, 0.3 GB, 3 GB, 8 GB or 318 GB",
        ),
    ] = "tiny",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other weights")] = 0,
    sparse: Annotated[
        bool,
        typer.Option(
            "--sparse", help="Files of full size as holes: true headers, zero weights, no disk"
        ),
    ] = False,
    layers: Annotated[int | None, _dimension("--layers", "Decoder layers")] = None,
    d_model: Annotated[int | None, _dimension("--d-model", "Residual width")] = None,
    ffn: Annotated[int | None, _dimension("--ffn", "Inner width of an expert")] = None,
    experts: Annotated[int | None, _dimension("--experts", "Experts per layer")] = None,
    vocab: Annotated[int | None, _dimension("--vocab", "Vocabulary")] = None,
    heads: Annotated[int | None, _dimension("--heads", "Query heads")] = None,
    kv_heads: Annotated[int | None, _dimension("--kv-heads", "Key/value heads")] = None,
    head_dim: Annotated[int | None, _dimension("--head-dim", "Size of a head")] = None,
    groups: Annotated[
        int | None, _dimension("--scale-groups", "Scale rows of row-parallel weights")
    ] = None,
    workers: options.Workers = None,
    memory: options.Memory = "512MiB",
    max_duration: options.MaxDuration = None,
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
    """Write a synthetic checkpoint of any size.

    It is byte for byte in the release's format; the weights are noise.
    """
    with session(
        "synth",
        fmt=fmt,
        json=json,
        progress=progress,
        report=report,
        quiet=quiet,
        verbose=verbose,
        color=color,
    ) as current:
        from grokpack.cli.run_plan import Terms, carry_out
        from grokpack.cli.source import verifying
        from grokpack.conversion.plan_synth import PRESETS, plan_synth

        if preset not in PRESETS:
            raise GrokpackError("GP304", f"--preset takes {', '.join(PRESETS)}")
        base = PRESETS[preset]
        head = head_dim or base.head_dim or 1
        given = {
            "layers": layers,
            "d_model": d_model,
            "ffn": ffn,
            "experts": experts,
            "vocab": vocab,
            "scale_groups": groups,
            "head_dim": head,
            "q_width": (heads or base.q_heads or 1) * head,
            "kv_width": (kv_heads or base.kv_heads or 1) * head,
        }
        geometry = replace(base, **{name: n for name, n in given.items() if n is not None})
        target = str(out.absolute())
        carry_out(
            current,
            plan_synth(geometry, seed, sparse=sparse),
            target,
            Terms(workers, memory, max_duration, dry_run, restart),
            following=verifying(target),
        )
