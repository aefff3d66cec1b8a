"""`grokpack inspect`: what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grokpack.cli import options
from grokpack.cli.session import session


def inspect(
    source: options.Source = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Tensors to show: names, words of names, patterns, or parts such as `experts`",
        ),
    ] = None,
    tree: Annotated[bool, typer.Option("--tree", help="List every tensor")] = False,
    offsets: Annotated[bool, typer.Option("--offsets", help="Show where each byte lies")] = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Read the values and describe them")
    ] = False,
    extract: Annotated[
        Path | None,
        typer.Option(
            "--extract",
            metavar="FILE.npy|FILE.safetensors",
            help="Write the tensors named to a file, streamed",
        ),
    ] = None,
    head_dim: options.HeadDim = None,
    fmt: options.Format = "auto",
    json: options.Json = False,
    progress: options.Progress = "auto",
    report: options.Report = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> None:
    """Show what a checkpoint holds.

    Reads headers only, but for --stats and --extract.
    """
    with session(
        "inspect",
        fmt=fmt,
        json=json,
        progress=progress,
        report=report,
        quiet=quiet,
        verbose=verbose,
        color=color,
    ) as current:
        import time

        from grokpack import inspection
        from grokpack.cli.source import resolve
        from grokpack.render import inspection as text
        from grokpack.stores.locate import survey

        path = resolve(source, current)
        began = time.monotonic()
        found = survey(path, head_dim)
        data = inspection.document(found, names)
        checkpoint = inspection.readable(found)
        seconds = time.monotonic() - began
        if extract is not None:
            from grokpack.extraction import extract as write

            data["extracted"] = write(checkpoint, names or [], str(extract))
        if stats:
            from grokpack.values import statistics

            data["statistics"] = statistics(checkpoint, names, current.stoppable())
        current.result(
            text.render(found, data, seconds, tree=tree, offsets=offsets, named=bool(names)), data
        )
