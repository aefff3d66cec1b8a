"""Reading and comparing of contents for `grokpack verify`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from grokpack.cli import parsing
from grokpack.core.errors import GrokpackError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.cli.session import Session
    from grokpack.verification.read_and_compare import ReadResult
    from grokpack.verification.read_options import ReadOptions
    from grokpack.verification.sampling import Sample
    from grokpack.verification.verify_structure import Verdict


def refuse_idle(
    subset: str | None,
    max_age: str | None,
    max_duration: str | None,
    *,
    contents: bool,
    values: bool,
) -> None:
    """Refuse options of reading where nothing is read that they could be about.

    Raises:
        GrokpackError: GP304.
    """
    idle = {} if contents else {"--subset": subset, "--max-age": max_age}
    idle |= {} if contents or values else {"--max-duration": max_duration}
    for option, value in idle.items():
        if value is not None:
            what = f"{option} is about reading contents"
            raise GrokpackError("GP304", what, hint="add `--data`, or `--against FILE`")


def deadline(session: Session, max_duration: str | None) -> Callable[[], bool]:
    """Return what tells whether to stop: the time is over, or a signal came.

    Raises:
        GrokpackError: GP346 for what is no duration.
    """
    seconds, began = parsing.parse_seconds("--max-duration", max_duration), time.monotonic()

    def stopping() -> bool:
        late = seconds is not None and time.monotonic() - began > seconds
        return late or session.stop.is_set()

    return stopping


def limits(subset: str | None, max_age: str | None, stopping: Callable[[], bool]) -> ReadOptions:
    """Return what to read, from the options as given.

    Raises:
        GrokpackError: GP346 for values that cannot be.
    """
    from grokpack.verification.read_options import ReadOptions

    return ReadOptions(_share(subset, parsing.parse_seconds("--max-age", max_age)), stopping)


def _share(subset: str | None, max_age_s: float | None) -> Sample:
    from grokpack.verification.sampling import Sample

    if subset is None:
        return Sample(max_age_s=max_age_s)
    if "/" in subset:
        part = parsing.parse_part("--subset", subset)
        return Sample(part=part, max_age_s=max_age_s)
    if subset.endswith("%"):
        return Sample(fraction=parsing.parse_percentage("--subset", subset), max_age_s=max_age_s)
    return Sample(nbytes=parsing.parse_bytes("--subset", subset), max_age_s=max_age_s)


def _replay(session: Session, out: Checkpoint, origin: str, chosen: ReadOptions) -> ReadResult:
    from grokpack.checkpoint.open_checkpoint import open_checkpoint
    from grokpack.cli.source_path import resolve
    from grokpack.verification.replay import replay

    if chosen.share.max_age_s is not None:
        what = "--max-age is about --data: nothing is remembered of a replay"
        raise GrokpackError("GP304", what, hint="`--subset 2%` draws other tiles each time")
    source = open_checkpoint(resolve(origin, session))
    return replay(out, source, chosen, session.listener())


def read(
    session: Session,
    path: str,
    verdict: Verdict,
    against: str | None,
    origin: str | None,
    chosen: ReadOptions,
) -> Verdict:
    """Read the files and add the result to the verdict.

    Files whose headers cannot be read are compared as well, if a list names them.

    Raises:
        GrokpackError: GP229 if the checkpoint has no manifest, GP230 for an invalid list or one
            that names none of the files, GP403 after a signal; results so far are remembered.
    """
    from grokpack.checkpoint import manifest_records, unparsed_files
    from grokpack.verification import verify_structure
    from grokpack.verification.external_checksums import check_against, foreign_list_error
    from grokpack.verification.verify_contents import check_contents

    checkpoint = verdict.survey.checkpoint
    files = checkpoint or unparsed_files.listed(path)
    if files is None and against is not None:
        files = unparsed_files.everything(path)
    if files is None or (checkpoint is None and origin is not None):
        return verdict
    if origin is not None and checkpoint is not None:
        contents = _replay(session, checkpoint, origin, chosen)
    elif against is not None:
        contents = check_against(files, against, chosen, session.listener())
    else:
        own = manifest_records.own(files)
        if own is None:
            hint = "`--against FILE` compares with published sums; `grokpack manifest` records"
            raise GrokpackError("GP229", "there is no manifest to compare with", hint=hint)
        if not own.files and verdict.whole:
            raise foreign_list_error(own.origin)
        contents = check_contents(files, own, chosen, session.listener())
    if session.stop.is_set():
        hint = "`--max-age 1d` leaves out what was read"
        raise Interrupted("stopped; what was read is remembered", hint=hint)
    return verify_structure.with_contents(verdict, contents)


def read_values(session: Session, verdict: Verdict, limits: ReadOptions) -> Verdict:
    """Read all values and add what is wrong with them to the verdict.

    Raises:
        GrokpackError: GP403 after a signal.
    """
    from grokpack.verification.verify_values import verify_values

    found = verify_values(verdict, session.stoppable(), limits=limits)
    if session.stop.is_set():
        hint = "the same command begins anew"
        raise Interrupted("stopped before everything was read", hint=hint)
    return found
