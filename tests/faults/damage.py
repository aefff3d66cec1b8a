"""What a verification says of a checkpoint, in one word, without the command line around it."""

from __future__ import annotations

from pathlib import Path

from grokpack.checkpoint import manifest_records
from grokpack.checkpoint.open_checkpoint import survey
from grokpack.core.errors import GrokpackError
from grokpack.verification import verify_structure
from grokpack.verification.check_history import CheckHistory
from grokpack.verification.verify_contents import check_contents


def judged(folder: Path) -> str:
    """`whole`, `damaged`, or the code of the error that `verify --data` ends with.

    What was remembered of earlier checks is not asked: each looks at everything.
    """
    try:
        verdict = verify_structure.verify_structure(survey(str(folder), None))
        checkpoint = verdict.survey.checkpoint
        if checkpoint is None:
            return "damaged" if not verdict.whole else "GP202"
        own = manifest_records.own(checkpoint)
        if own is None:
            return "GP229"
        found = check_contents(checkpoint, own, memory=CheckHistory(checkpoint))
        verdict = verify_structure.with_contents(verdict, found)
    except GrokpackError as error:
        return error.code
    return "whole" if verdict.whole and found.all_bytes else "damaged"
