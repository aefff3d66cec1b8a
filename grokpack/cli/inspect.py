"""`grokpack inspect`: show what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokpack.cli import options, parsing
from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus

if TYPE_CHECKING:
    from grokpack.conversion.device_fit import Devices
    from grokpack.core.documents.inspection_json import InspectionJson

_MOST_TOKENS = 10**9


@command(
    "inspect",
    "inspect ckpt-0",
    "inspect ckpt-0 --fit 8x80GB --context 8192",
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
    fit: Annotated[
        str | None,
        typer.Option(
            "--fit",
            metavar="NxSIZE",
            help="Show what fits on devices, `8x80GB`, in each format that serves it, and which "
            "command makes the best",
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=1,
            max=_MOST_TOKENS,
            metavar="TOKENS",
            help="With --fit: tokens of a sequence, 8192 by default",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            max=_MOST_TOKENS,
            metavar="N",
            help="With --fit: sequences at a time, 1 by default",
        ),
    ] = None,
    head_dim: options.HeadDim = None,
) -> None:
    """Show what a checkpoint holds.

    Reads headers only, but for --stats and --extract. Exit status 1 where a file is there and
    cannot be read, a tensor that was asked for is not, or nothing fits the devices of --fit.
    """
    import time

    from grokpack.checkpoint import summary
    from grokpack.checkpoint.open_checkpoint import survey
    from grokpack.cli.source_path import resolve
    from grokpack.report.text import inspection_text as text

    devices = _devices(fit, context, batch)
    path = resolve(source, session)
    began = time.monotonic()
    found = survey(path, head_dim)
    data = summary.document(found, names)
    checkpoint = summary.readable(found)
    if devices is not None:
        from grokpack.conversion import device_fit

        data["fit"] = device_fit.fit(checkpoint, devices)
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
    word = "incomplete" if bad else "ok" if _fits(data) else "too-large"
    status = ExitStatus.OK if word == "ok" else ExitStatus.ANSWER_IS_NO
    session.result(shown, data, status, [finding.row() for finding in wrong], word)


def _devices(fit: str | None, context: int | None, batch: int | None) -> Devices | None:
    """Return the devices of `--fit`, and their work; None without it.

    Raises:
        GrokpackError: GP346 for what are no devices, GP304 for their work without them.
    """
    work = {"--context": context, "--batch": batch}
    if fit is None:
        for option, value in work.items():
            if value is not None:
                raise GrokpackError("GP304", f"{option} is about --fit", hint="add `--fit 8x80GB`")
        return None
    from grokpack.conversion.device_fit import CONTEXT, Devices

    count, nbytes = parsing.parse_devices("--fit", fit)
    return Devices(count, nbytes, context or CONTEXT, batch or 1)


def _fits(data: InspectionJson) -> bool:
    """Return whether a format fits the devices, if there is a question of that."""
    if "fit" not in data:
        return True
    loads = (load for form in data["fit"]["formats"] for load in form["loads"])
    return any(load["left"] >= 0 for load in loads)
