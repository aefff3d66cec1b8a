"""HTML page of `grokpack diff --report FILE.html`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from grokpack.core.counts import counted
from grokpack.models import registry
from grokpack.report.pages import heat_table, html
from grokpack.report.pages.html import Page
from grokpack.report.text import numbers
from grokpack.report.text.diff_text import WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.core.documents.comparison_json import (
        ComparisonAnswer,
        ComparisonJson,
        DifferenceJson,
    )
    from grokpack.report.pages.html import Html


def page(document: ComparisonAnswer) -> Page:
    """Make the page of a comparison's document."""
    data = document["data"]
    sections = [
        _overview(data),
        *_alone(data),
        *_layers(data["tensors"]),
        _tensors(data["tensors"]),
    ]
    return Page(f"{data['first']} and {data['second']}", sections)


def _overview(data: ComparisonJson) -> Html:
    states = Counter(row["state"] for row in data["tensors"])
    allowed = data["max_error"]
    rows = [
        ("model of the first", data["first_family"]),
        ("model of the second", data["second_family"]),
        *((f"tensors {state}", f"{count:,}: {WORDS[state]}") for state, count in states.items()),
        ("relative error allowed", None if allowed is None else f"{allowed:g}"),
        ("time", numbers.duration(data["seconds"])),
    ]
    return html.section("Overview", html.facts(rows))


def _alone(data: ComparisonJson) -> list[Html]:
    """List the tensors that only one of both has."""
    rows = [
        (html.name(name), place)
        for place, names in (
            (data["first"], data["only_first"]),
            (data["second"], data["only_second"]),
        )
        for name in names
    ]
    if not rows:
        return []
    return [html.section("In this shape only one has", html.table(("tensor", "where"), rows))]


def _layers(tensors: Sequence[DifferenceJson]) -> list[Html]:
    """Show the relative differences by layer and kind; nothing where all are equal."""
    family = registry.by_paths([row["name"] for row in tensors])
    values: dict[tuple[int, str], float] = {}
    kinds: dict[str, str] = {}
    for row in tensors:
        layer, rule = family.layer_of(row["name"]), family.rule_of(row["name"])
        if layer is not None and row["relative"] is not None:
            values[layer, rule.path] = row["relative"]
            if row["differing"]:
                kinds[rule.path] = rule.title
    if not kinds:
        return []
    table = heat_table.above_zero(kinds, values, ".3g", max(values.values()))
    text = "Root of squared differences over squared values of the first, by tensor."
    return [html.section("Relative error by layer", html.element("p", text), table)]


def _tensors(tensors: Sequence[DifferenceJson]) -> Html:
    rows = [
        (
            html.name(row["name"]),
            row["state"],
            f"{row['differing'] / row['elements']:.2%}",
            _figure(row["relative"]),
            _figure(row["largest"]),
            ", ".join(map(str, row["first"] or ())),
        )
        for row in sorted(tensors, key=_badness)
    ]
    head = ("name", "state", "values that differ", "relative error", "largest difference", "first")
    table = html.table(head, rows, (2, 3, 4, 5))
    return html.section("Tensors", html.folded(counted(len(rows), "tensor"), table))


def _badness(row: DifferenceJson) -> float:
    """Return the key that puts the largest relative error first."""
    return float("-inf") if row["relative"] is None else -row["relative"]


def _figure(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
