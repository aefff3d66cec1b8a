"""`grokpack inspect`: show what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grokpack.cli import options
from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.core.exit_status import ExitStatus


@command(
    "inspect",
    "inspect ckpt-0",
    "inspect grok-2 experts --stats",
    "inspect ckpt-0 decoder_layer_1 --extract layer-1.safetensors",
)
def inspect(
    session: Session,
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
) -> None:
    """Show what a checkpoint holds.

    Reads headers only, but for --stats and --extract. Exit status 1 where a file is there and
    cannot be read, or a tensor that was asked for is not.
    """
    import time

    from grokpack.checkpoint import summary
    from grokpack.checkpoint.open_checkpoint import survey
    from grokpack.cli.source_path import resolve
    from grokpack.report import inspection_text as text

    path = resolve(source, session)
    began = time.monotonic()
    found = survey(path, head_dim)
    data = summary.document(found, names)
    checkpoint = summary.readable(found)
    seconds = time.monotonic() - began
    if extract is not None:
        from grokpack.checkpoint.extract import extract as write

        data["extracted"] = write(checkpoint, names or [], str(extract))
    if stats:
        from grokpack.verification.verify_values import statistics

        data["statistics"] = statistics(checkpoint, names, session.stoppable())
    read = checkpoint.tensors
    if stats:
        from grokpack.verification.verify_values import sound_tensors

        read = {tensor.name: tensor for tensor in sound_tensors(checkpoint)}
    asked = bool(names) or stats
    data["unread"] = summary.unread_names(checkpoint, names, read) if asked else []
    wrong = summary.unreadable(found)
    shown = text.render(
        found, data, seconds, wrong=wrong, tree=tree, offsets=offsets, named=bool(names)
    )
    bad = bool(wrong or data["unread"])
    status = ExitStatus.ANSWER_IS_NO if bad else ExitStatus.OK
    rows = [finding.row() for finding in wrong]
    session.result(shown, data, status, rows, "incomplete" if bad else "ok")
