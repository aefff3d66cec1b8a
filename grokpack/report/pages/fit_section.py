"""Fit of a model on devices, on a page: what each format takes, and the best of each program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.report.pages import chart_gallery, html
from grokpack.report.pages.charts import Bars
from grokpack.report.text import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.core.documents.fit_json import FitJson, FormatFitJson
    from grokpack.report.pages.html import Html

_GB = 1e9


def section(fit: FitJson) -> Html:
    """Make the section of `inspect --fit`."""
    formats = [form for form in fit["formats"] if form["loads"]]
    device = byte_size(fit["device_bytes"])
    rows = [
        ("devices", f"{fit['devices']} of {device}"),
        ("kept free on each", byte_size(fit["reserve_bytes"])),
        ("sequences at a time", f"{fit['batch']:,} of {fit['context']:,} tokens"),
        ("keys and values of all", byte_size(fit["cache_bytes"])),
    ]
    return html.section(
        "Fit on devices",
        html.facts(rows),
        chart_gallery.gallery(_chart(fit, formats)),
        _table(formats),
        _best(fit),
    )


def _chart(fit: FitJson, formats: Sequence[FormatFitJson]) -> Bars:
    """Draw what the fullest device holds, beside its memory."""
    loads = [form["loads"][-1] for form in formats]
    lengths = {
        "experts": [load["experts"] / _GB for load in loads],
        "other weights": [load["others"] / _GB for load in loads],
        "keys and values": [load["cache"] / _GB for load in loads],
    }
    return Bars(
        "Load of the fullest device",
        "GB",
        [_name(form) for form in formats],
        lengths,
        [f"on {load['width']}" for load in loads],
        ("memory less what is kept free", (fit["device_bytes"] - fit["reserve_bytes"]) / _GB),
    )


def _name(form: FormatFitJson) -> str:
    return f"{form['format']}, {form['program']}" if form["program"] else form["format"]


def _table(formats: Sequence[FormatFitJson]) -> Html:
    """List what each format takes on as many devices as can share it."""
    head = ("format", "program", "devices", "experts", "others", "cache", "left", "fits on")
    rows = [
        (
            form["format"],
            form["program"],
            load["width"],
            *(byte_size(load[part]) for part in ("experts", "others", "cache", "left")),
            numbers.ranges(one["width"] for one in form["loads"] if one["left"] >= 0) or "none",
        )
        for form in formats
        for load in form["loads"][-1:]
    ]
    return html.table(head, rows, range(2, 7))


def _best(fit: FitJson) -> Html:
    """List the command of each program's best format that fits."""
    if not fit["best"]:
        return html.element("p", "Nothing fits.")
    rows = [
        (
            row["program"],
            row["format"],
            row["width"],
            html.element("pre", row["command"]) if row["command"] else "this checkpoint, as it is",
        )
        for row in fit["best"]
    ]
    return html.table(("program", "best that fits", "devices", "what writes it"), rows, (2,))
