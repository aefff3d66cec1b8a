"""Options that several commands share, one by one and in groups, under the headings of help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GROUPS = OUTPUT, WORK, FORM = "Output", "Work", "Form of the answer"
"""Headings of shared options in help, in the order shown."""

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
        help="Folder, s3://, gs:// or hf://OWNER/NAME; a name beside SRC by default",
        rich_help_panel=OUTPUT,
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        "--workers",
        envvar="GROKPACK_WORKERS",
        metavar="N|serial|dask://HOST:PORT",
        help="Threads, one per core by default, 8 at most; or a Dask cluster",
        rich_help_panel=WORK,
    ),
]
Threads = Annotated[
    str | None,
    typer.Option(
        "--workers",
        envvar="GROKPACK_WORKERS",
        metavar="N|serial",
        help="Threads; one per core by default, 8 at most",
        rich_help_panel=WORK,
    ),
]
Memory = Annotated[
    str,
    typer.Option(
        "--memory",
        envvar="GROKPACK_MEMORY",
        metavar="SIZE",
        help="Resident memory that the run keeps to",
        rich_help_panel=WORK,
    ),
]
MaxDuration = Annotated[
    str | None,
    typer.Option(
        "--max-duration",
        metavar="30m",
        help="Stop cleanly after this time, with exit status 75",
        rich_help_panel=WORK,
    ),
]
PartOfRun = Annotated[
    str | None,
    typer.Option(
        "--part",
        metavar="i/n",
        help="Write the i-th of n parts, for job arrays; the last to end publishes",
        rich_help_panel=WORK,
    ),
]
RequireComplete = Annotated[
    bool,
    typer.Option(
        "--require-complete",
        help="With --part: exit status 75 as long as other parts are outstanding",
        rich_help_panel=WORK,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", "-n", help="Show the plan and write nothing", rich_help_panel=OUTPUT),
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart", help="Discard what an earlier run left in --out", rich_help_panel=OUTPUT
    ),
]
KeepLocal = Annotated[
    bool,
    typer.Option(
        "--keep-local",
        help="-o hf://: keep the files in ./NAME as well",
        rich_help_panel=OUTPUT,
    ),
]
Private = Annotated[
    bool,
    typer.Option(
        "--private",
        help="-o hf://: let only the owner see the repository",
        rich_help_panel=OUTPUT,
    ),
]
HeadDim = Annotated[
    int | None,
    typer.Option(
        "--head-dim",
        min=1,
        help="Size of an attention head, where no config.json has it",
    ),
]
Format = Annotated[
    Literal["auto", "text", "json", "github", "junit"],
    typer.Option(
        "--format",
        envvar="GROKPACK_FORMAT",
        help="Form of the result on stdout",
        rich_help_panel=FORM,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="The same as --format json", rich_help_panel=FORM)
]
Progress = Annotated[
    Literal["auto", "bar", "lines", "json", "none"],
    typer.Option(
        "--progress",
        envvar="GROKPACK_PROGRESS",
        help="Form of the progress on stderr",
        rich_help_panel=FORM,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.json|FILE.html",
        help="Write the answer to a file as well: as JSON, or as a page",
        rich_help_panel=FORM,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Nothing on stderr but errors; stdout has the answer",
        rich_help_panel=FORM,
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show tracebacks of bugs", rich_help_panel=FORM)
]
Color = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(
        "--color",
        envvar="GROKPACK_COLOR",
        help="Colour on a terminal; NO_COLOR and FORCE_COLOR are heeded",
        rich_help_panel=FORM,
    ),
]


@dataclass(frozen=True, slots=True)
class RunFlags:
    """Options of running a plan.

    Attributes:
        workers: Threads, or a cluster.
        memory: Resident memory of a process.
        max_duration: Deadline.
        dry_run: Stop after showing the plan.
        restart: Discard what is there.
    """

    workers: Workers = None
    memory: Memory = "512MiB"
    max_duration: MaxDuration = None
    dry_run: DryRun = False
    restart: Restart = False


@dataclass(frozen=True, slots=True)
class PartedRunFlags(RunFlags):
    """Options of running a plan that several processes may share, or publish to the hub.

    Attributes:
        part: Which part of the plan, `i/n`; None for all of it.
        require_complete: End a part that leaves others outstanding with status 75.
        keep_local: Keep files that are published to the hub.
        private: Create the hub's repository for its owner alone.
    """

    part: PartOfRun = None
    require_complete: RequireComplete = False
    keep_local: KeepLocal = False
    private: Private = False


@dataclass(frozen=True, slots=True)
class OutputFlags:
    """Options of a command's output.

    Attributes:
        fmt: Form of the result.
        json: Short for `--format json`.
        progress: Form of the progress.
        report: File that also gets the answer.
        quiet: Nothing on stderr but errors.
        verbose: Tracebacks of bugs.
        color: When to use colour.
    """

    fmt: Format = "auto"
    json: Json = False
    progress: Progress = "auto"
    report: Report = None
    quiet: Quiet = False
    verbose: Verbose = False
    color: Color = "auto"


def completing(words: Iterable[str]) -> Callable[[], list[str]]:
    """Make the function from which a shell learns the words that an option takes.

    Annotations are evaluated where a lambda of their own would not find the module's names.
    """
    return lambda: list(words)
