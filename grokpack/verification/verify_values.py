"""Check of every value, for `verify --values`, and statistics for `inspect --stats`."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import opened
from grokpack.checkpoint.summary import describe_tensors
from grokpack.core.errors import FrameDamaged
from grokpack.core.events import Listener, ignore_event
from grokpack.core.finding import Finding
from grokpack.core.layout import Box
from grokpack.core.tensors import SCALES_SUFFIX, TensorSpec, scales_name
from grokpack.kernels.tally import FloatTally
from grokpack.verification.value_locations import describe_index
from grokpack.verification.value_statistics import ArrayTally, tally_all
from grokpack.verification.verify_structure import Verdict, verify_structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.inspection_json import StatisticsJson
    from grokpack.core.documents.verification_json import CheckResult
    from grokpack.core.errors import GrokpackError
    from grokpack.core.layout import Piece
    from grokpack.core.paths import StrPath
    from grokpack.core.tensors import Shape
    from grokpack.transforms.protocols import LazyArray
    from grokpack.verification.read_options import ReadOptions
    from grokpack.verification.value_statistics import CountingSizes

_VALUES = (
    ("GP120", "nan", "tensor holds NaN", "values"),
    ("GP121", "posinf", "tensor holds infinities", "values +infinite"),
    ("GP121", "neginf", "tensor holds infinities", "values -infinite"),
)
_SCALES = (
    ("GP122", "zero", "scales are zero", "scales"),
    ("GP122", "negative", "scales are negative", "scales"),
    ("GP120", "nan", "scales are NaN", "scales"),
    ("GP121", "posinf", "scales are infinite", "scales +infinite"),
    ("GP121", "neginf", "scales are infinite", "scales -infinite"),
)


def statistics(
    checkpoint: Checkpoint | StrPath,
    patterns: str | list[str] | None = None,
    listen: Listener = ignore_event,
    cuts: CountingSizes | None = None,
) -> list[StatisticsJson]:
    """Compute statistics of each tensor's values, as JSON values.

    Tensors of which a part is missing are left out.

    Args:
        checkpoint: The checkpoint to read, or its path.
        patterns: Patterns of tensor names.
        listen: Receives progress.
        cuts: Sizes in which the work is cut; no figure depends on them.
    """
    checkpoint = opened(checkpoint)
    named = {view["name"] for view in describe_tensors(checkpoint, patterns)}
    chosen = [tensor for tensor in sound_tensors(checkpoint) if tensor.name in named]
    tallies = tally_all(checkpoint, chosen, listen, cuts)
    return [_row(tensor, tallies) for tensor in chosen]


def _row(tensor: TensorSpec, tallies: dict[str, ArrayTally]) -> StatisticsJson:
    scales = tallies[scales_name(tensor.name)].summary() if tensor.scales else None
    return {
        "name": tensor.name,
        "dtype": tensor.values.dtype.label,
        **tallies[tensor.name].summary(),
        "scales": scales,
    }


def verify_values(
    verdict: Verdict | Checkpoint | StrPath,
    listen: Listener = ignore_event,
    cuts: CountingSizes | None = None,
    limits: ReadOptions | None = None,
) -> Verdict:
    """Add findings about values to a verdict: NaN, infinities, scales that are not positive.

    Args:
        verdict: The verdict on the structure, the checkpoint itself, or its path.
        listen: Receives progress.
        cuts: Sizes in which the work is cut; no finding depends on them.
        limits: Workers that count, and when to stop.
    """
    if not isinstance(verdict, Verdict):
        verdict = verify_structure(verdict)
    checkpoint = verdict.survey.checkpoint
    if checkpoint is None:
        return verdict
    pieces = checkpoint.layout.pieces()
    findings: list[Finding] = []
    sound = sound_tensors(checkpoint)
    failed: dict[str, GrokpackError] = {}
    counted = [*sound, *_scales_apart(checkpoint, sound)]
    tallies = tally_all(checkpoint, counted, listen, cuts, failed, limits)
    for tensor in counted:
        for array in tensor.arrays():
            if array in failed:
                findings.append(_undecoded(checkpoint, _weight(array), failed[array]))
            if array not in tallies:
                continue
            held = {name: pieces[name] for name in checkpoint.stored(array)}
            view = checkpoint.views.get(array)
            findings += _findings(array, tallies[array], held, view)
    stopped = limits is not None and limits.stopping()
    there = sum(math.prod(spec.shape) for one in counted for spec in one.arrays().values())
    outcome: CheckResult = "failed" if findings else "partial" if stopped else "ok"
    if not there:  # no tensor is whole enough to be read
        outcome = "skipped"
    return replace(
        verdict,
        findings=(*verdict.findings, *findings),
        checks=verdict.checks | {"values": outcome},
        counted=(sum(one.tally.elements for one in tallies.values()), there),
    )


def _scales_apart(checkpoint: Checkpoint, sound: list[TensorSpec]) -> list[TensorSpec]:
    """List the scales of weights that are read as products, as tensors of their own."""
    held = (checkpoint.float_packings.get(tensor.name) for tensor in sound)
    return [TensorSpec(scales_name(one.name), one.scales) for one in held if one is not None]


def _weight(array: str) -> str:
    """Return the tensor that an array belongs to."""
    return array.removesuffix(SCALES_SUFFIX)


def _damaged(checkpoint: Checkpoint, what: str, path: str) -> Finding:
    """Make the finding for a compressed file whose frames cannot be read."""
    paths = (file.path for file in checkpoint.layout.files())
    file = next((p for p in paths if storage.stored(checkpoint.path(p)) == path), path)
    return Finding("GP227", what, file)


def sound_tensors(checkpoint: Checkpoint) -> list[TensorSpec]:
    """List the tensors that are complete and whose scales fit their values."""
    pieces = checkpoint.layout.pieces()
    return [
        tensor
        for tensor in checkpoint.tensors.values()
        if _scales_fit(tensor)
        and all(
            sum(box.elements for box in {piece.box for piece in pieces.get(name, ())})
            >= checkpoint.layout.arrays[name].elements
            for array in tensor.arrays()
            for name in checkpoint.stored(array)
        )
    ]


def _scales_fit(tensor: TensorSpec) -> bool:
    if tensor.scales is None:
        return True
    (*lead, rows, out), (*scale_lead, groups, columns) = tensor.values.shape, tensor.scales.shape
    return (lead, out) == (scale_lead, columns) and groups > 0 and rows % groups == 0


def _undecoded(checkpoint: Checkpoint, tensor: str, error: GrokpackError) -> Finding:
    """Make the finding for an array of which a chunk is missing or damaged."""
    path = error.where.path if error.where else None
    if isinstance(error, FrameDamaged) and path:
        return _damaged(checkpoint, error.what, path)
    file = os.path.relpath(path, checkpoint.folder) if path else None
    return Finding("GP115", error.what, file, tensor, None, dict(error.facts).get("reason"))


def _findings(
    array: str,
    counted: ArrayTally,
    pieces: Mapping[str, tuple[Piece, ...]],
    view: LazyArray | None,
) -> Iterator[Finding]:
    """Yield the findings of one array, each with file and index of the first bad values.

    Indices are those of the whole array; rows and columns are as files have them.
    """
    if not isinstance(counted.tally, FloatTally):
        return
    name = _weight(array)
    of_scales = array != name
    for code, kind, message, of in _SCALES if of_scales else _VALUES:
        count = getattr(counted.tally, kind)
        if not count:
            continue
        locations = counted.locations.found[kind]
        traced = [None if view is None else view.trace(index) for index in locations]
        pairs = zip(locations, traced, strict=True)
        stored = locations if of_scales else [_stored(*pair) for pair in pairs]
        places = "; ".join(describe_index(index, scales=of_scales) for index in stored)
        more = "; .." if count > len(locations) else ""
        file = _holder(locations[0], traced[0], pieces, view)
        yield Finding(code, message, file, name, None, f"{count:,} {of}: {places}{more}")


def _stored(index: Shape, traced: tuple[str, Shape] | None) -> Shape:
    """Return the index of an element with the last axes as files have them."""
    return index if traced is None else (*index[: len(index) - len(traced[1])], *traced[1])


def _holder(
    index: Shape,
    traced: tuple[str, Shape] | None,
    pieces: Mapping[str, tuple[Piece, ...]],
    view: LazyArray | None,
) -> str | None:
    """Return the file that holds an element."""
    if traced is not None and traced[0] in pieces:
        return _file_of(traced[1], pieces[traced[0]])
    every = tuple(piece for own in pieces.values() for piece in own)
    return (view and view.locate(index)) or _file_of(index, every)


def _file_of(index: Shape, pieces: tuple[Piece, ...]) -> str | None:
    """Return the file that holds an element; the first of several if the array is computed.

    None if files hold many arrays.
    """
    point = Box(index, (1,) * len(index))
    alike = (p for p in pieces if len(p.box.start) == len(index) and p.box.intersect(point))
    piece = next(alike, pieces[0] if pieces else None)
    return None if piece is None else piece.extent.path
