"""Checks that a remote worker sees the same source and output, from headers and sizes alone.

Each process checks once, before the first item of a job.
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
    from grokpack.transforms.buffer_sizes import BufferSizes

_HINT = "workers need the storage of source and output at the same paths as this process"


def check_run(plan: Plan, output: Output, buffer_sizes: BufferSizes) -> None:  # noqa: ARG001  # what the job is made of
    """Check that this process sees the plan's source, and the output that was begun.

    Raises:
        GrokpackError: GP409 where a process does not.
    """
    if plan.source is not None:
        check_checkpoint(plan.source)
    if storage.is_url(output.path):
        if plan.target.codec is not None:
            what = "compressed files go to a bucket from one process only"
            raise GrokpackError("GP409", what, Place(output.path), hint="`--workers N`")
        storage.make_folder(output.journal.folder)  # on this machine, for scratch files
    elif not output.journal.exists() or output.journal.plan()["digest"] != plan.digest():
        what = "a worker does not see the output that was begun"
        raise GrokpackError("GP409", what, Place(output.path), hint=_HINT)


def end_run(_plan: Plan, output: Output, _step_sizes: BufferSizes) -> None:
    """Remove what was kept on disk of a remote source."""
    storage.tidy(output.journal.folder)


def check_checkpoint(checkpoint: Checkpoint, *_others: object) -> None:
    """Check that this process sees the checkpoint that was opened, by its headers.

    Raises:
        GrokpackError: GP409 where a process does not.
    """
    unlike = checkpoint.unlike()
    if unlike is not None:
        what = "a worker does not see the file as it was opened"
        raise GrokpackError("GP409", what, Place(unlike), hint=_HINT)


def check_files(sizes: Mapping[str, int], *_others: object) -> None:
    """Check that this process sees files of these sizes.

    Raises:
        GrokpackError: GP409 where a process does not.
    """
    for path, nbytes in sizes.items():
        if storage.size_of(path) != nbytes:
            what = "a worker does not see the file"
            raise GrokpackError("GP409", what, Place(path), hint=_HINT)
