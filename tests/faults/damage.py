"""What a verification says of a checkpoint, in one word, without the command line around it."""

from __future__ import annotations

from pathlib import Path

from grokpack import verification
from grokpack.contents import records
from grokpack.contents.check import check_contents
from grokpack.contents.memory import Memory
from grokpack.errors import GrokpackError
from grokpack.stores.locate import survey


def judged(folder: Path) -> str:
    """`whole`, `damaged`, or the code of the error that `verify --data` ends with.

    What was remembered of earlier checks is not asked: each looks at everything.
    """
    try:
        verdict = verification.verify_structure(survey(str(folder), None))
        checkpoint = verdict.survey.checkpoint
        if checkpoint is None:
            return "damaged" if not verdict.whole else "GP202"
        own = records.own(checkpoint)
        if own is None:
            return "GP229"
        found = check_contents(checkpoint, own, memory=Memory(checkpoint))
        verdict = verification.with_contents(verdict, found)
    except GrokpackError as error:
        return error.code
    return "whole" if verdict.whole and found.all_bytes else "damaged"
