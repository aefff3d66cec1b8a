"""`grokpack verify`: check that a checkpoint is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from grokpack.cli import options
from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.core.errors import UNSAFE_PICKLES
from grokpack.core.exit_status import ExitStatus
from grokpack.core.finding import of_kinds

if TYPE_CHECKING:
    from grokpack.core.documents.verification_json import ContentsJson, VerificationJson
    from grokpack.report.junit import Case
    from grokpack.verification.verify_structure import Verdict


@command(
    "verify",
    "verify ckpt-0",
    "verify grok-2 --against hf:xai-org/grok-2",
    "verify grok-1-tp8 --data --json",
)
def verify(
    session: Session,
    source: options.Source = None,
    values: Annotated[
        bool,
        typer.Option("--values", help="Read all values: NaN, infinities, zero or negative scales"),
    ] = False,
    data: Annotated[
        bool, typer.Option("--data", help="Read all bytes and compare them with the manifest")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="FILE|hf:REPO",
            help="Read all bytes and compare them with another manifest, a list of sha256 sums, a "
            ".torrent, or what Hugging Face's hub says of a repository's files",
        ),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="CKPT",
            help="Make the bytes again from what SRC was made from, and compare",
        ),
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            "--subset",
            metavar="n/t|5%|20GB",
            help="Read a part: slice n of t, or what was not read for longest",
        ),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", metavar="4w", help="Leave out what was found good in this time"),
    ] = None,
    workers: options.Workers = None,
    max_duration: options.MaxDuration = None,
    head_dim: options.HeadDim = None,
) -> None:
    """Check that a checkpoint is whole.

    Looks at every file's name, framing, size, shape, dtype and order. Reads contents only for
    --data and --against, which remember what they found, for --source and for --values.
    """
    import time

    from grokpack.cli import run_verification
    from grokpack.cli.source_path import resolve
    from grokpack.cli.workers import open_workers, with_workers
    from grokpack.report.text import verification_text as text
    from grokpack.verification import repair, verify_structure
    from grokpack.verification.read_options import ReadOptions

    path = resolve(source, session)
    began = time.monotonic()
    contents = data or (against or origin) is not None
    run_verification.refuse_idle(subset, max_age, max_duration, contents=contents, values=values)
    time_over = run_verification.deadline(session, max_duration)
    chosen = run_verification.limits(subset, max_age, time_over) if contents else None
    verdict = verify_structure.look(path, head_dim)
    readable = verdict.survey.checkpoint is not None
    if chosen is not None or (values and readable):
        with open_workers(workers) as worker_options:
            if chosen is not None:
                verdict = run_verification.read(
                    session, path, verdict, against, origin, with_workers(worker_options, chosen)
                )
            if values and readable:
                by_then = with_workers(worker_options, ReadOptions(stopping=time_over))
                verdict = run_verification.read_values(session, verdict, by_then)
    if verdict.refusal is not None and verdict.whole:
        raise verdict.refusal
    seconds = time.monotonic() - began
    session.result(
        text.render(verdict, seconds),
        document(verdict, seconds),
        status(verdict),
        [
            {**finding.row(), "fix": fix}
            for finding, fix in zip(verdict.findings, repair.fixes(verdict), strict=True)
        ],
        verdict.word,
        cases(verdict),
    )


def cases(verdict: Verdict) -> list[Case]:
    """List every file that could be read, for a CI page."""
    from grokpack.checkpoint.checkpoint import array_slices
    from grokpack.core.tensors import SCALES_SUFFIX
    from grokpack.report import junit

    checkpoint = verdict.survey.checkpoint
    files = () if checkpoint is None else checkpoint.layout.files()
    return [
        junit.case(
            file.path,
            tuple(dict.fromkeys(name.removesuffix(SCALES_SUFFIX) for name in array_slices(file))),
        )
        for file in files
    ]


def status(verdict: Verdict) -> ExitStatus:
    """Return 0 if nothing is wrong, 75 if stopped, 4 for a hostile pickle, 3 or 1 for others."""
    if verdict.whole:
        return ExitStatus.OK if verdict.ended else ExitStatus.TRY_AGAIN
    hostile = of_kinds(verdict.findings, *UNSAFE_PICKLES)
    if verdict.unreadable:
        return ExitStatus.SOURCE
    return ExitStatus.UNSAFE if hostile else ExitStatus.ANSWER_IS_NO


def document(verdict: Verdict, seconds: float) -> VerificationJson:
    """Make `data` of `grokpack verify --json`."""
    from grokpack.models import registry
    from grokpack.verification.layer_states import layers
    from grokpack.verification.repair import repair_command

    found = verdict.survey
    checkpoint = found.checkpoint
    bad = len(verdict.damaged_files)
    return {
        "source": found.place,
        "format": found.format,
        "family": checkpoint.model.title if checkpoint else registry.UNKNOWN,
        "complete": verdict.complete,
        "files": {"expected": found.expected, "ok": max(0, found.expected - bad), "bad": bad},
        "bytes": checkpoint.layout.nbytes if checkpoint else 0,
        "checks": verdict.checks,
        "contents": _contents(verdict),
        "layers": layers(verdict),
        "fix": repair_command(verdict),
        "seconds": round(seconds, 3),
    }


def _contents(verdict: Verdict) -> ContentsJson | None:
    found = verdict.contents
    if found is None:
        return None
    return {
        "against": found.origin,
        "total_bytes": found.total_bytes,
        "read_bytes": found.read_bytes,
        "total_files": found.total_files,
        "compared_files": found.compared_files,
        "never_read_bytes": found.never_bytes,
        "ended": found.ended,
    }
