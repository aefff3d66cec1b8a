"""Error statistics of a quantization on a page: what was lost, where, in which groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from grokpack.core.counts import counted
from grokpack.models import registry
from grokpack.report.pages import chart_gallery, heat_table, html
from grokpack.report.pages.charts import Histogram

if TYPE_CHECKING:
    from grokpack.core.documents.plan_json import AccountJson, AccountsJson
    from grokpack.report.pages.html import Html

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


def sections(statistics: AccountsJson) -> list[Html]:
    """Make all sections of what quantizing lost."""
    return [_roles(statistics), _layers(statistics), _groups(statistics), _tensors(statistics)]


def _roles(statistics: AccountsJson) -> Html:
    head = ("part", "weights", *(title for _, title, _ in _FIGURES))
    rows = [
        (role, f"{own['weights']:,}", *_cells(own)) for role, own in statistics["roles"].items()
    ]
    return html.section("What was lost", html.table(head, rows, range(1, len(head))))


def _cells(figures: AccountJson) -> list[str]:
    return ["" if figures.get(k) is None else form.format(figures[k]) for k, _, form in _FIGURES]


def _layers(statistics: AccountsJson) -> Html:
    """Show the relative error by layer and kind of weight."""
    values: dict[tuple[int, str], float] = {}
    kinds: dict[str, str] = {}
    family = registry.by_paths(statistics["tensors"])
    for name, own in statistics["tensors"].items():
        layer, rule = family.layer_of(name), family.rule_of(name)
        if layer is not None and "relative_error" in own:
            values[layer, rule.path] = own["relative_error"]
            kinds[rule.path] = rule.title
    table = heat_table.above_zero(kinds, values, ".2%", max(values.values(), default=0.0))
    text = "Relative error of each weight, in percent of its root mean square."
    return html.section("Where it was lost", html.element("p", text), table)


def _groups(statistics: AccountsJson) -> Html:
    """Draw for each role how many groups have which signal-to-noise ratio."""
    shown = []
    for role, own in statistics["roles"].items():
        held = {int(db): n for db, n in own.get("histogram_db", {}).items()}
        if held:
            edges = range(min(held), max(held) + 2)
            counts = [held.get(db, 0) for db in edges[:-1]]
            shown.append(Histogram(role, "SQNR of a group (dB)", "groups", edges, counts))
    text = "Groups of weights that share a scale, by signal-to-quantization-noise ratio."
    return html.section("Errors of groups", html.element("p", text), chart_gallery.gallery(*shown))


def _tensors(statistics: AccountsJson) -> Html:
    head = ("name", *(title for _, title, _ in _FIGURES))
    rows = [(html.name(n), *_cells(own)) for n, own in statistics["tensors"].items()]
    whole = html.table(head, rows, range(1, len(head)))
    return html.section("Tensors", html.folded(counted(len(rows), "tensor"), whole))
