"""Summary of a checkpoint from its headers: parts, tensors and their locations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.errors import UNSAFE_PICKLES, GrokpackError, Place
from grokpack.core.escaping import safe_operand, shell_command
from grokpack.core.finding import of_kinds, only_errors
from grokpack.models import partition, tensor_patterns

if TYPE_CHECKING:
    from collections.abc import Collection

    from grokpack.checkpoint.checkpoint import Checkpoint, Survey
    from grokpack.core.documents.inspection_json import (
        InspectionJson,
        PartSizeJson,
        PieceJson,
        TensorJson,
        ViewJson,
    )
    from grokpack.core.finding import Finding
    from grokpack.core.layout import Piece
    from grokpack.core.paths import StrPath
    from grokpack.core.tensors import TensorSpec
    from grokpack.models.architecture import ModelTensor

_PARTS = (  # order and names of the parts in the overview
    ("expert", "experts"),
    ("mlp", "dense MLP"),
    ("attention", "attention"),
    ("embedding", "embedding"),
    ("head", "output head"),
    ("router", "router"),
    ("norm", "norms"),
)


_READABLE = ("GP101", "GP102", "GP130")
"""Findings that leave nothing unread: a missing file, a foreign one, a wrong config."""


def parts(checkpoint: Checkpoint) -> list[PartSizeJson]:
    """Return the overview by role; replicas in files of several ranks count each time."""
    by_name = checkpoint.model.by_name()
    stored = _stored_bytes(checkpoint)
    total = sum(stored.values()) or 1
    rows = []
    known = {rule.role for rule in checkpoint.model.family.rules}
    for role, title in ((role, title) for role, title in _PARTS if role in known):
        tensors = [t for t in checkpoint.tensors.values() if by_name[t.name].rule.role == role]
        arrays = {a for t in tensors for a in _stored_arrays(checkpoint, t)}
        nbytes = sum(stored[array] for array in arrays)
        kinds = sorted({_stored_as(checkpoint, tensor) for tensor in tensors})
        row: PartSizeJson = {
            "part": title,
            "tensors": len(tensors),
            "stored_as": "; ".join(kinds),
            "shapes": sorted({t.values.shape for t in tensors}, reverse=True),
            "nbytes": nbytes,
            "share": nbytes / total,
        }
        rows.append(row)
    return rows


def tensor_bytes(checkpoint: Checkpoint) -> dict[str, int]:
    """Return the bytes of each tensor in the files, by name."""
    stored = _stored_bytes(checkpoint)
    return {
        name: sum(stored.get(array, 0) for array in _stored_arrays(checkpoint, tensor))
        for name, tensor in checkpoint.tensors.items()
    }


def _stored_arrays(checkpoint: Checkpoint, tensor: TensorSpec) -> list[str]:
    """Return the arrays in the files that a tensor is made from."""
    return [a for array in tensor.arrays() for a in checkpoint.stored(array) or (array,)]


def _stored_as(checkpoint: Checkpoint, tensor: TensorSpec) -> str:
    """Describe how a tensor is stored: `int8, bf16 scales`."""
    scales = checkpoint.scales_label(tensor)
    return checkpoint.label(tensor) + (f", {scales} scales" if scales else "")


def _stored_bytes(checkpoint: Checkpoint) -> dict[str, int]:
    """Return the bytes of each array in the files; decoded ones if a database holds them all."""
    specs = {name: spec for t in checkpoint.tensors.values() for name, spec in t.arrays().items()}
    if not any(checkpoint.stored(name) for name in specs):
        return {name: spec.nbytes for name, spec in specs.items()}
    pieces = checkpoint.layout.pieces()
    return {name: sum(p.extent.nbytes for p in rows) for name, rows in pieces.items()}


def describe_tensors(
    checkpoint: Checkpoint, patterns: str | list[str] | None = None
) -> list[TensorJson]:
    """Return the tensors that match one of the patterns, in file order; all without patterns.

    Args:
        checkpoint: The checkpoint.
        patterns: Patterns of `grokpack.models.tensor_patterns`.

    Raises:
        GrokpackError: GP202 if the files of all matches are missing or wrong, GP216 for a pattern
            that matches no tensor of the model, with the nearest names.
    """
    by_name = checkpoint.model.by_name()
    pieces = checkpoint.layout.pieces()
    asked = set(_asked(checkpoint, patterns))
    chosen = [name for name in checkpoint.tensors if name in asked]
    if patterns and not chosen:
        raise not_read(checkpoint, [name for name in by_name if name in asked])
    return [_describe_tensor(checkpoint, by_name[name], pieces) for name in chosen]


def unread_names(
    checkpoint: Checkpoint, patterns: str | list[str] | None, read: Collection[str]
) -> list[str]:
    """Return the names of requested tensors that could not be read.

    Args:
        checkpoint: The checkpoint that should have them.
        patterns: The request, as for `describe_tensors`; None for all.
        read: Names of the readable ones.
    """
    return [name for name in _asked(checkpoint, patterns) if name not in read]


def _asked(checkpoint: Checkpoint, patterns: str | list[str] | None) -> list[str]:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    entries = checkpoint.model.tensors()
    if not patterns:
        return [entry.name for entry in entries]
    found = {
        entry.name for pattern in patterns for entry in tensor_patterns.select(entries, pattern)
    }
    return [entry.name for entry in entries if entry.name in found]


def not_read(checkpoint: Checkpoint, names: list[str]) -> GrokpackError:
    """Return the error for requested tensors that cannot be read."""
    what = f"{names[0]} cannot be read: its file is missing or wrong"
    facts = (("and", f"{len(names) - 1} more"),) if names[1:] else ()
    verifying = shell_command("grokpack", "verify", safe_operand(checkpoint.folder))
    hint = f"`{verifying or 'grokpack verify'}` says what is wrong, and how to fetch it"
    return GrokpackError("GP202", what, Place(checkpoint.folder), facts, hint)


def unreadable(survey: Survey) -> list[Finding]:
    """Return the findings about unusable files, whose contents are not shown."""
    return only_errors(survey.findings, besides=_READABLE)


def _describe_tensor(
    checkpoint: Checkpoint, entry: ModelTensor, pieces: dict[str, tuple[Piece, ...]]
) -> TensorJson:
    tensor = checkpoint.tensors[entry.name]
    scales = checkpoint.scales(tensor)
    axis, sliced = partition.cut_axis(entry.rule, "engines"), checkpoint.ranks > 1
    groups = tensor.scales.shape[-2] if tensor.scales else None
    arrays = {
        array.removeprefix(entry.name).lstrip("/") or "values": [
            _piece(p, name if sliced and array in checkpoint.views else None)
            for name in checkpoint.stored(array)
            for p in pieces.get(name, ())
        ]
        for array in tensor.arrays()
    }
    return {
        "name": entry.name,
        "role": entry.rule.role,
        "title": entry.rule.title,
        "layer": entry.layer,
        "dtype": checkpoint.label(tensor),
        "shape": tensor.values.shape,
        "parameters": tensor.values.elements,
        "scales_shape": scales.shape if scales else None,
        "scale_groups": groups,
        "rows_per_group": tensor.values.shape[-2] // groups if groups else None,
        "tp_axis": None if axis is None else axis % len(tensor.values.shape),
        "gguf": entry.gguf,
        "pieces": arrays,
    }


def _piece(piece: Piece, stored: str | None) -> PieceJson:
    """Describe a slice; `stored` names the array that it is of, where that is not the tensor's."""
    extent = piece.extent
    row: PieceJson = {
        "file": extent.path,
        "offset": extent.offset,
        "bytes": extent.nbytes,
        "start": piece.box.start,
        "shape": piece.box.shape,
    }
    return row if stored is None else {**row, "array": stored}


def document(
    survey: Survey | Checkpoint | StrPath, patterns: str | list[str] | None = None
) -> InspectionJson:
    """Return everything about a checkpoint as JSON values: `data` of `grokpack inspect --json`.

    Args:
        survey: Its survey, the checkpoint itself, or its path.
        patterns: Names of the tensors to describe, or words of them; all by default.

    Raises:
        GrokpackError: GP210 if the dimensions are not known, GP216 for a wrong pattern.
    """
    from grokpack.checkpoint.open_checkpoint import surveyed

    survey = surveyed(survey)
    checkpoint = readable(survey)
    geometry = checkpoint.geometry
    counted = checkpoint.model.parameters()
    bad = {f.file for f in only_errors(survey.findings)}
    return {
        "source": survey.place,
        "format": survey.format,
        "family": checkpoint.model.title,
        "complete": survey.complete,
        "files": {"expected": survey.expected, "bad": len(bad)},
        "bytes": checkpoint.layout.nbytes,
        "ranks": checkpoint.ranks,
        "geometry": geometry.document()
        | {"q_heads": geometry.q_heads, "kv_heads": geometry.kv_heads},
        "parameters": {
            "total": counted.total,
            "active": counted.active,
            "by_role": counted.by_role,
        },
        "widths": partition.legal_widths(geometry) if geometry.head_dim else None,
        "parts": parts(checkpoint),
        "tensors": describe_tensors(checkpoint, patterns),
        "view": _through(survey, checkpoint),
    }


def _through(survey: Survey, checkpoint: Checkpoint) -> ViewJson | None:
    """Return the view by which the checkpoint was named, and its spec in TensorStore."""
    if survey.view is None:
        return None
    from grokpack.checkpoint.readers.virtual_store_reader import read
    from grokpack.checkpoint.virtual_store import store_index

    opens = read(survey.view).shown_spec(store_index.example(checkpoint))
    return {"folder": survey.view, "opens": opens}


def readable(survey: Survey) -> Checkpoint:
    """Return the checkpoint of a survey, whole or not.

    Raises:
        GrokpackError: GP204 for a hostile file, GP210 if the dimensions are not known, GP226 if
            files changed since the view was made through which they were reached.
    """
    from grokpack.checkpoint.open_checkpoint import refuse_stale, unsafe_pickle_error

    for finding in of_kinds(survey.findings, *UNSAFE_PICKLES):
        raise unsafe_pickle_error(survey, finding)
    refuse_stale(survey)
    if survey.checkpoint is None:
        first = survey.findings[0] if survey.findings else None
        facts = ((first.tensor or first.file or survey.place, first.message),) if first else ()
        raise GrokpackError(
            "GP210",
            "the tensors do not tell a model's dimensions",
            None,
            facts,
            "`grokpack verify` says which files are wrong",
        )
    return survey.checkpoint
