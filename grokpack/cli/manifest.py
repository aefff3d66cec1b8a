"""`grokpack manifest`: record checksums of a checkpoint's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from grokpack.cli import options
from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted

if TYPE_CHECKING:
    from grokpack.core.documents.manifest_json import RecordingJson


@command(
    "manifest",
    "manifest ckpt-0",
    "manifest ckpt-0 --sha256 -o grok-1.json",
    "verify ckpt-0 --against grok-1.json",
)
def manifest(
    session: Session,
    source: options.Source = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where to write; grokpack.json beside the checkpoint by default",
        ),
    ] = None,
    sha256: Annotated[
        bool, typer.Option("--sha256", help="Add each file's sha256, at half the speed")
    ] = False,
    head_dim: options.HeadDim = None,
) -> None:
    """Record the checksums of a checkpoint that has none.

    Reads every file, and the config, tokenizer and LICENSE beside them. `verify --data` finds by
    the sums whatever changes later; whether the files are right now, only sums from their
    publisher can tell (`verify --against`).
    """
    import time

    from grokpack.checkpoint.open_checkpoint import open_checkpoint
    from grokpack.cli.source_path import resolve, verifying
    from grokpack.report.text import numbers
    from grokpack.report.text.shown_paths import relative_path, shown_path
    from grokpack.verification.record_manifest import record

    path = resolve(source, session)
    began = time.monotonic()
    made = record(
        open_checkpoint(path, head_dim),
        out,
        sha256=sha256,
        stopping=session.stop.is_set,
        listen=session.listener(),
    )
    seconds = time.monotonic() - began
    of = f"{counted(made.files, 'file')}, {byte_size(made.nbytes)}"
    text = f"wrote {shown_path(made.path)}: {of}   {numbers.duration(seconds)}"
    compared = ("--data",) if out is None else ("--against", relative_path(made.path))
    following = verifying(path, *compared)
    data: RecordingJson = {
        "source": path,
        "manifest": made.path,
        "files": made.files,
        "bytes": made.nbytes,
        "sha256": sha256,
        "seconds": round(seconds, 3),
    }
    session.result(f"{text}\n\n  next     {following}" if following else text, data)
