"""What a process elsewhere must have: the same files, as far as that is told without reading all.

It is looked at once in each process, before the first item of a job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import GrokpackError, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.execution.output import Output
    from grokpack.planning.plan import Plan
    from grokpack.transforms.step_sizes import StepSizes

_HINT = "workers need the storage of source and output at the same paths as this process"


def check_run(plan: Plan, place: Output, pace: StepSizes) -> None:  # noqa: ARG001  # what the job is made of
    """See the source of a plan, and the output that was begun.

    Raises:
        GrokpackError: GP409 where a process does not.
    """
    if plan.source is not None:
        check_checkpoint(plan.source)
    if storage.is_url(place.path):
        if plan.target.encoding is not None:
            what = "compressed files go to a bucket from one process only"
            raise GrokpackError("GP409", what, Place(place.path), hint="`--workers N`")
        storage.make_folder(place.journal.folder)  # of this machine: for what is put aside
    elif not place.journal.exists() or place.journal.plan()["digest"] != plan.digest():
        what = "a worker does not see the output that was begun"
        raise GrokpackError("GP409", what, Place(place.path), hint=_HINT)


def end_run(_plan: Plan, place: Output, _pace: StepSizes) -> None:
    """Put away what was read of a far source and kept on disk."""
    storage.tidy(place.journal.folder)


def check_checkpoint(checkpoint: Checkpoint, *_others: object) -> None:
    """See a checkpoint that is, by its headers, the one that was opened.

    Raises:
        GrokpackError: GP409 where a process does not.
    """
    unlike = checkpoint.unlike()
    if unlike is not None:
        what = "a worker does not see the file as it was opened"
        raise GrokpackError("GP409", what, Place(unlike), hint=_HINT)


def check_files(sizes: Mapping[str, int], *_others: object) -> None:
    """See files of these sizes.

    Raises:
        GrokpackError: GP409 where a process does not.
    """
    for path, nbytes in sizes.items():
        if storage.size_of(path) != nbytes:
            what = "a worker does not see the file"
            raise GrokpackError("GP409", what, Place(path), hint=_HINT)
