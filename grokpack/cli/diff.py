"""`grokpack diff`: compare the weights of two checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from grokpack.cli import options
from grokpack.cli.command import command
from grokpack.cli.session import Session
from grokpack.core.exit_status import ExitStatus

if TYPE_CHECKING:
    from grokpack.core.documents.comparison_json import ComparisonJson
    from grokpack.models.architecture import Geometry
    from grokpack.models.family import Model
    from grokpack.verification.compare import Comparison


@command(
    "diff",
    "diff ckpt-0 grok-1-hf",
    "diff ckpt-0 grok-1-int4 --max-error 0.12",
    "diff A B --json",
)
def diff(
    session: Session,
    first: Annotated[str, typer.Argument(metavar="A", help="Folder, file or URL of a checkpoint")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same, of another")],
    max_error: Annotated[
        float | None,
        typer.Option(
            "--max-error",
            min=0,
            metavar="0.12",
            help="Relative error of a tensor up to which a difference is well",
        ),
    ] = None,
    head_dim: options.HeadDim = None,
    workers: options.Workers = None,
) -> None:
    """Compare the weights of two checkpoints, in whatever formats.

    Exit status 0 where every value is equal, or is what the other becomes in its dtype; else 1.
    """
    import time

    from grokpack.checkpoint.open_checkpoint import open_checkpoint
    from grokpack.cli.source_path import resolve
    from grokpack.cli.workers import open_workers, with_workers
    from grokpack.report.text import diff_text as text
    from grokpack.verification.compare import DIFFERENT, compare

    places = [resolve(place, session) for place in (first, second)]
    began = time.monotonic()
    one, other = (open_checkpoint(place, head_dim) for place in places)
    with open_workers(workers) as worker_options:
        found = compare(one, other, session.stoppable(), with_workers(worker_options))
    well = found.state != DIFFERENT or (max_error is not None and found.within(max_error))
    data = document(found, places, (one.model, other.model), max_error, time.monotonic() - began)
    status = ExitStatus.OK if well else ExitStatus.ANSWER_IS_NO
    session.result(text.render(found, data), data, status, word=found.state)


def document(
    found: Comparison,
    places: list[str],
    models: tuple[Model, Model],
    max_error: float | None,
    seconds: float,
) -> ComparisonJson:
    """Make `data` of `grokpack diff --json`."""
    from grokpack.report.text.numbers import finite

    data: ComparisonJson = {
        "first": places[0],
        "second": places[1],
        "first_family": models[0].title,
        "second_family": models[1].title,
        "max_error": max_error,
        "only_first": list(found.only_first),
        "only_second": list(found.only_second),
        "tensors": [
            {
                "name": row.name,
                "state": row.state,
                "elements": row.elements,
                "differing": row.differing,
                "largest": finite(row.largest),
                "relative": finite(row.relative),
                "first": row.first,
            }
            for row in found.tensors
        ],
        "seconds": round(seconds, 3),
    }
    unlike = _unlike(*(model.geometry for model in models))
    if unlike:
        data["dimensions"] = unlike
    return data


def _unlike(one: Geometry, other: Geometry) -> dict[str, list[int | None]]:
    """Return the dimensions that both models have, and not alike; scales are no dimension."""
    ours, theirs = one.document(), other.document()
    return {
        name: [size, theirs[name]]
        for name, size in ours.items()
        if name != "scale_groups" and None not in (size, theirs.get(name)) and size != theirs[name]
    }
