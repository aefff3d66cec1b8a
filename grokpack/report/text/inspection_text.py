"""Text of `grokpack inspect`: overview, tensors, byte offsets, statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.escaping import escape_line
from grokpack.models import registry
from grokpack.models.family import OTHER_DIMENSIONS
from grokpack.report.text import numbers, text_tables
from grokpack.report.text.shown_paths import shown_path
from grokpack.report.text.text_tables import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.checkpoint.checkpoint import Survey
    from grokpack.core.documents.inspection_json import (
        InspectionJson,
        PartSizeJson,
        PieceJson,
        TensorJson,
    )
    from grokpack.core.finding import Finding

_PARTS = (
    Column("part", 9, left=True),
    Column("tensors"),
    Column("stored as", 19, left=True),
    Column("shape", 29, left=True),
    Column("size", 9),
    Column("share"),
)
_FEW_UNREAD = 5  # files or tensors shown before the rest is counted
_FEW_PIECES = 4  # slices shown before the rest is counted


def render(
    survey: Survey,
    data: InspectionJson,
    seconds: float,
    *,
    wrong: list[Finding],
    tree: bool,
    offsets: bool,
    named: bool,
) -> str:
    """Render the overview or the chosen tensors, then what could not be read."""
    blocks = []
    if "fit" in data:
        from grokpack.report.text import fit_text

        place = shown_path(survey.place)
        blocks.append(fit_text.render(data["fit"], f"{place}: {_model(data['family'])}"))
    elif not named:
        blocks.append(_overview(survey, data, seconds))
    if tree and not named:
        blocks.append("\n".join(_row(t) for t in data["tensors"]))
    if named or (offsets and not tree):
        blocks.append("\n\n".join(_tensor(t, offsets=offsets) for t in data["tensors"]))
    if "statistics" in data:
        from grokpack.report.text import statistics_text  # imports numpy

        blocks.append(statistics_text.render(data["statistics"], len(data["tensors"])))
    if "extracted" in data:
        written = data["extracted"]
        blocks.append(f"wrote {shown_path(written['file'])}: {byte_size(written['bytes'])}")
    blocks += [_unread(rows) for rows in (_files(wrong), data["unread"]) if rows]
    return "\n\n".join(blocks)


def _files(wrong: list[Finding]) -> list[str]:
    return [f"{f.file or f.tensor or 'the folder'}: {f.message} ({f.code})" for f in wrong]


def _unread(rows: list[str]) -> str:
    more = [f"and {len(rows) - _FEW_UNREAD:,} more"] if len(rows) > _FEW_UNREAD else []
    listed = [*map(escape_line, rows[:_FEW_UNREAD]), *more]
    return "\n".join(f"not read  {row}" for row in listed)


def _model(label: str) -> str:
    """Return a model's name in words, by the label of its family."""
    name = label.removesuffix(OTHER_DIMENSIONS)
    title = registry.FAMILIES[name].title
    return title if name == label else f"a model of {title}'s architecture"


def _overview(survey: Survey, data: InspectionJson, seconds: float) -> str:
    name = _model(data["family"])
    good = data["files"]["expected"] - data["files"]["bad"]
    state = {True: "complete", False: "NOT complete", None: "completeness not known"}[
        data["complete"]
    ]
    geometry, parameters = data["geometry"], data["parameters"]
    ranks = f", cut for {data['ranks']} ranks" if data["ranks"] > 1 else ""
    active, took = parameters["active"] / parameters["total"], numbers.duration(seconds)
    lines = [
        (
            f"{shown_path(survey.place)}: {name}, {data['format']} format{ranks}, {state} "
            f"({good} of {counted(data['files']['expected'], 'file')})"
        ),
        "",
        (
            f"  {numbers.parameter_count(parameters['total'])} parameters "
            f"in {byte_size(data['bytes'])}; "
            f"{numbers.parameter_count(parameters['active'])} ({active:.1%}) active per token"
        ),
        (
            f"  {_number(geometry, 'layer')}, {_number(geometry, 'expert')}, {_heads(geometry)}"
            f"d_model {geometry['d_model']}, ffn {geometry['ffn']}, {_dense(geometry)}"
            f"vocab {geometry['vocab']}"
        ),
        "",
        *text_tables.table(_PARTS, [_part(row) for row in data["parts"]]),
        "",
        _widths(data),
        f"  read {counted(good, 'header')} in {took}; no pickle was executed",
    ]
    if data["view"]:
        lines += [
            "",
            f"  view     {shown_path(data['view']['folder'])}: files as when it was made",
        ]
        opens = data["view"]["opens"]
        lines += [f"  open it  tensorstore: {numbers.one_line_json(opens)}"] if opens else []
    if data["complete"] is False:
        lines += ["", "hint: `grokpack verify` names what is missing or wrong"]
    return "\n".join(lines)


def _number(geometry: dict[str, int | None], noun: str) -> str:
    """Format how many layers or experts there are."""
    return counted(geometry[f"{noun}s"] or 0, noun)


def _heads(geometry: dict[str, int | None]) -> str:
    if geometry["head_dim"] is None:
        return "head size unknown (no config.json; --head-dim), "
    return f"{geometry['q_heads']} query / {geometry['kv_heads']} key-value heads, "


def _dense(geometry: dict[str, int | None]) -> str:
    return f"mlp {geometry['mlp']}, " if "mlp" in geometry else ""


def _widths(data: InspectionJson) -> str:
    if data["widths"] is None:
        return "  widths for --tp: unknown without the head size"
    return f"  splits evenly for --tp {', '.join(map(str, data['widths']))}"


def _part(row: PartSizeJson) -> tuple[str, ...]:
    shapes = row["shapes"]
    shape = ", ".join(" x ".join(map(str, s)) for s in shapes[:2]) + (", .." if shapes[2:] else "")
    size, share = byte_size(row["nbytes"]), f"{row['share']:.1%}"
    return row["part"], str(row["tensors"]), row["stored_as"], shape, size, share


def _row(tensor: TensorJson) -> str:
    scales = f"  scales {_shape(tensor['scales_shape'])}" if tensor["scales_shape"] else ""
    return f"{tensor['name']:<56} {tensor['dtype']:<5} {_shape(tensor['shape'])}{scales}"


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _tensor(tensor: TensorJson, *, offsets: bool) -> str:
    lines = [
        f"{tensor['name']}     {tensor['title']}",
        (
            f"  values   {tensor['dtype']}  {_shape(tensor['shape'])}   "
            f"{tensor['parameters']:,} parameters"
        ),
    ]
    if offsets:
        lines += _pieces(tensor["pieces"].get("values", []))
    if tensor["scales_shape"]:
        lines.append(
            f"  scales   bf16  {_shape(tensor['scales_shape'])}   "
            f"one scale per {tensor['rows_per_group']} rows of a column"
        )
        if offsets:
            lines += _pieces(tensor["pieces"].get("scales", []))
    axis = tensor["tp_axis"]
    lines.append(
        "  tp axis  none: every rank holds it whole" if axis is None else f"  tp axis  {axis}"
    )
    return "\n".join([*lines, f"  gguf     {tensor['gguf']}"])


def _of(piece: PieceJson) -> str:
    """Say which region of which array in the file a slice is, where it is not the tensor itself."""
    if "array" not in piece:
        return ""
    sides = zip(piece["start"], piece["shape"], strict=True)
    region = ", ".join(f"{start}:{start + count}" for start, count in sides)
    return f"   {escape_line(piece['array'])} [{region}]"


def _pieces(pieces: list[PieceJson]) -> list[str]:
    rows = [
        f"           {escape_line(p['file'])}"
        f"  bytes {p['offset']:,} .. {p['offset'] + p['bytes'] - 1:,}{_of(p)}"
        for p in pieces[:_FEW_PIECES]
    ]
    more = len(pieces) - len(rows)
    return [*rows, f"           {numbers.others(more, 'slice')}"] if more > 0 else rows
