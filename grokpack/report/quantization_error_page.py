"""HTML page of `grokpack quantize --report FILE.html`: error statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from grokpack.core.byte_size import byte_size
from grokpack.models import registry
from grokpack.report import html, svg

if TYPE_CHECKING:
    from grokpack.core.documents.plan_json import AccountJson, AccountsJson, PlanAnswer, PlanJson
    from grokpack.report.html import Html

_Key = Literal[
    "relative_error", "sqnr_db", "worst_group", "cosine", "saturated_share", "zeroed_share"
]
_FIGURES: tuple[tuple[_Key, str, str], ...] = (
    ("relative_error", "relative error", "{:.5f}"),
    ("sqnr_db", "SQNR (dB)", "{:.2f}"),
    ("worst_group", "worst group", "{:.4f}"),
    ("cosine", "cosine", "{:.7f}"),
    ("saturated_share", "at an end", "{:.2%}"),
    ("zeroed_share", "became 0", "{:.2%}"),
)


def page(document: PlanAnswer) -> str:
    """Make the page of a quantization's document."""
    data = document["data"]
    sections = [_plan(data)]
    if data.get("account"):
        statistics = data["account"]
        sections += [
            _roles(statistics),
            _heat(statistics),
            _histograms(statistics),
            _tensors(statistics),
        ]
    return html.page(document, data["out"], sections)


def _plan(data: PlanJson) -> Html:
    rows = [
        ("source", data["source_folder"]),
        ("written as", data["format"]),
        ("options", ", ".join(f"{k} {v}" for k, v in data["parameters"].items())),
        ("reads", byte_size(data["reads_bytes"])),
        ("writes", byte_size(data["writes_bytes"])),
        ("plan", data["plan"][:12]),
    ]
    notes = html.element("ul", *(html.element("li", note) for note in data["notes"]))
    return html.section("What was done", html.facts(rows), notes)


def _roles(statistics: AccountsJson) -> Html:
    head = ("part", "weights", *(title for _, title, _ in _FIGURES))
    rows = [
        (role, f"{own['weights']:,}", *_cells(own)) for role, own in statistics["roles"].items()
    ]
    return html.section("What was lost", html.table(head, rows, range(1, len(head))))


def _cells(figures: AccountJson) -> list[str]:
    return ["" if figures.get(k) is None else form.format(figures[k]) for k, _, form in _FIGURES]


def _heat(statistics: AccountsJson) -> Html:
    """Draw layers by kinds of weight, coloured by relative error."""
    values: dict[tuple[str, str], float] = {}
    titles: dict[str, None] = {}
    layers: set[int] = set()
    family = registry.by_paths(statistics["tensors"])
    for name, own in statistics["tensors"].items():
        layer, title = family.layer_of(name), family.rule_of(name).title
        if layer is not None and "relative_error" in own:
            values[str(layer), title] = own["relative_error"]
            titles[title] = None
            layers.add(layer)
    picture = svg.heat([str(n) for n in sorted(layers)], list(titles), values)
    text = "Relative error of each weight: a column for each layer, a row for each kind."
    return html.section("Where it was lost", html.element("p", text), picture)


def _histograms(statistics: AccountsJson) -> Html:
    """Draw a histogram of groups by signal-to-noise ratio."""
    parts: list[object] = []
    for role, own in statistics["roles"].items():
        held = {int(db): n for db, n in own.get("histogram_db", {}).items()}
        if held:
            bins = range(min(held), max(held) + 1)
            names = [f"{db} to {db + 1} dB" for db in bins]
            label = f"{role}: groups by SQNR, {min(held)} to {max(held) + 1} dB"
            counts = [held.get(db, 0) for db in bins]
            parts += [html.element("h3", label), svg.histogram(counts, label, names)]
    return html.section("Errors of groups", *parts)


def _tensors(statistics: AccountsJson) -> Html:
    head = ("name", *(title for _, title, _ in _FIGURES))
    rows = [(html.element("code", n), *_cells(own)) for n, own in statistics["tensors"].items()]
    whole = html.table(head, rows, range(1, len(head)))
    return html.section("Tensors", html.folded(f"{len(rows)} tensors", whole))
