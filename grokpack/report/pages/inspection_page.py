"""HTML page of `grokpack inspect --report FILE.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.report.pages import (
    chart_gallery,
    findings_section,
    fit_section,
    html,
    statistics_sections,
)
from grokpack.report.pages.charts import Bars
from grokpack.report.pages.html import Page
from grokpack.report.text import numbers

if TYPE_CHECKING:
    from grokpack.core.documents.inspection_json import InspectionAnswer, InspectionJson
    from grokpack.report.pages.html import Html


def page(document: InspectionAnswer) -> Page:
    """Make the page of an inspection's document."""
    data = document["data"]
    sections = [_overview(data), _parts(data)]
    if document["findings"]:
        sections.insert(1, findings_section.findings(document["findings"]))
    if "fit" in data:
        sections.append(fit_section.section(data["fit"]))
    if data.get("statistics"):
        sections += statistics_sections.sections(data)
    sections.append(_tensors(data))
    return Page(data["source"], sections)


def _overview(data: InspectionJson) -> Html:
    geometry, counted, files = data["geometry"], data["parameters"], data["files"]
    widths = ", ".join(map(str, data["widths"])) if data["widths"] else "unknown: no head size"
    heads = f"{geometry['q_heads']} query, {geometry['kv_heads']} key/value"
    rows = [
        ("model", data["family"]),
        ("stored as", data["format"]),
        ("cut for", f"{data['ranks']} ranks" if data["ranks"] > 1 else None),
        ("files", f"{files['expected'] - files['bad']} of {files['expected']} good"),
        ("parameters", numbers.parameter_count(counted["total"])),
        ("active per token", numbers.parameter_count(counted["active"])),
        ("bytes", byte_size(data["bytes"])),
        ("layers", geometry["layers"]),
        ("experts", geometry["experts"]),
        ("heads", heads if geometry["head_dim"] else "unknown"),
        ("d_model", geometry["d_model"]),
        ("ffn", geometry["ffn"]),
        ("vocabulary", geometry["vocab"]),
        ("splits evenly for --tp", widths),
    ]
    state = {
        True: "The checkpoint is complete.",
        False: "The checkpoint is NOT complete: `grokpack verify` says what is wrong.",
        None: "Completeness not known: nothing tells how many files there should be.",
    }[data["complete"]]
    return html.section("Overview", html.element("p", state), html.facts(rows))


def _parts(data: InspectionJson) -> Html:
    parts = data["parts"]
    rows = [
        (
            row["part"],
            f"{row['share']:.2%}",
            byte_size(row["nbytes"]),
            row["tensors"],
            row["stored_as"],
            ", ".join(" x ".join(map(str, shape)) for shape in row["shapes"]),
        )
        for row in parts
    ]
    head = ("part", "share", "size", "tensors", "stored as", "shapes")
    chart = Bars(
        "Size of each part of the network",
        "percent of all bytes",
        [row["part"] for row in parts],
        {"bytes": [100 * row["share"] for row in parts]},
        [byte_size(row["nbytes"]) for row in parts],
    )
    table = html.table(head, rows, (1, 2, 3))
    return html.section("Where the bytes are", chart_gallery.gallery(chart), table)


def _tensors(data: InspectionJson) -> Html:
    rows = [
        (
            html.name(row["name"]),
            row["title"],
            row["dtype"],
            " x ".join(map(str, row["shape"])),
            " x ".join(map(str, row["scales_shape"] or ())),
            f"{row['parameters']:,}",
        )
        for row in data["tensors"]
    ]
    head = ("name", "what it is", "stored as", "shape", "scales", "parameters")
    return html.section(
        "Tensors", html.folded(counted(len(rows), "tensor"), html.table(head, rows, (3, 4, 5)))
    )
