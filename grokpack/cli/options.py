"""Options that several commands share, in three help groups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_WORK, _OUTPUT, _MODEL = "Work", "Output", "Model"

Source = Annotated[
    str | None,  # a URL as well, which Path would mangle
    typer.Argument(
        metavar="SRC",
        envvar="GROKPACK_CHECKPOINT",
        help="Folder or URL of the checkpoint; ./checkpoints/ckpt-0, ./ckpt-0 or . by default",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Where to write; a name beside SRC by default",
        rich_help_panel=_WORK,
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        "--workers",
        envvar="GROKPACK_WORKERS",
        metavar="N|serial|dask://HOST:PORT",
        help="Threads, one per core by default, 8 at most; or a Dask cluster",
        rich_help_panel=_WORK,
    ),
]
Threads = Annotated[
    str | None,
    typer.Option(
        "--workers",
        envvar="GROKPACK_WORKERS",
        metavar="N|serial",
        help="Threads; one per core by default, 8 at most",
        rich_help_panel=_WORK,
    ),
]
Memory = Annotated[
    str,
    typer.Option(
        "--memory",
        envvar="GROKPACK_MEMORY",
        metavar="SIZE",
        help="Resident memory that the run keeps to",
        rich_help_panel=_WORK,
    ),
]
MaxDuration = Annotated[
    str | None,
    typer.Option(
        "--max-duration",
        metavar="30m",
        help="Stop cleanly after this time, with exit status 75",
        rich_help_panel=_WORK,
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        "--part",
        metavar="i/n",
        help="Write the i-th of n parts, for job arrays; the last to end publishes",
        rich_help_panel=_WORK,
    ),
]
RequireComplete = Annotated[
    bool,
    typer.Option(
        "--require-complete",
        help="With --part: exit status 75 as long as other parts are outstanding",
        rich_help_panel=_WORK,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", "-n", help="Show the plan and write nothing", rich_help_panel=_WORK),
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart", help="Discard what an earlier run left in --out", rich_help_panel=_WORK
    ),
]
HeadDim = Annotated[
    int | None,
    typer.Option(
        "--head-dim",
        min=1,
        help="Size of an attention head, where no config.json has it",
        rich_help_panel=_MODEL,
    ),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        envvar="GROKPACK_FORMAT",
        metavar="auto|text|json|github|junit",
        help="Form of the result on stdout",
        rich_help_panel=_OUTPUT,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="The same as --format json", rich_help_panel=_OUTPUT)
]
Progress = Annotated[
    str,
    typer.Option(
        "--progress",
        envvar="GROKPACK_PROGRESS",
        metavar="auto|bar|lines|json|none",
        help="Form of the progress on stderr",
        rich_help_panel=_OUTPUT,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.json|FILE.html",
        help="Write the answer to a file as well: as JSON, or (not every command) a page",
        rich_help_panel=_OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Nothing on stderr but errors", rich_help_panel=_OUTPUT),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show tracebacks of bugs", rich_help_panel=_OUTPUT)
]
Color = Annotated[
    str,
    typer.Option(
        "--color",
        envvar="GROKPACK_COLOR",
        metavar="auto|always|never",
        help="Colour on a terminal; NO_COLOR and FORCE_COLOR are heeded",
        rich_help_panel=_OUTPUT,
    ),
]
