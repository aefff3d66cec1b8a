"""Text of a quantization's error statistics: a line for each kind of weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.models import registry
from grokpack.report.text import text_tables
from grokpack.report.text.text_tables import Column

if TYPE_CHECKING:
    from grokpack.core.documents.plan_json import AccountJson, AccountsJson

_COLUMNS = (
    Column("", 38, left=True),
    Column("relative error", 14),
    Column("SQNR", 10),
    Column("worst group", 11),
    Column("cosine", 9),
    Column("at an end", 9),
    Column("became 0", 9),
)
_TITLES = {"expert": "experts", "attention": "attention", "mlp": "dense MLP"}


def table(statistics: AccountsJson) -> str:
    """Render the error statistics of a run's document, by role, then by kind of weight."""
    rows = []
    for role, figures in statistics["roles"].items():
        rows.append(_row(_TITLES.get(role, role), figures))
        rows += [_row(f"  {title}", own) for title, own in _kinds(statistics, role)]
    return "\n".join(text_tables.table(_COLUMNS, rows))


def _kinds(statistics: AccountsJson, role: str) -> list[tuple[str, AccountJson]]:
    """Find the worst layer of each kind of weight of a role."""
    worst: dict[str, tuple[str, AccountJson]] = {}
    family = registry.by_paths(statistics["tensors"])
    for name, figures in statistics["tensors"].items():
        rule = family.rule_of(name)
        if rule.role != role or "relative_error" not in figures:
            continue
        title, layer = rule.title.rpartition(", ")[2], family.layer_of(name)
        title += "" if layer is None else f", worst in layer {layer}"
        kept = worst.get(rule.path)
        if kept is None or figures["relative_error"] > kept[1]["relative_error"]:
            worst[rule.path] = title, figures
    return list(worst.values())


def _row(title: str, figures: AccountJson) -> tuple[str, ...]:
    if "relative_error" not in figures:
        return (title, "zeros only", *[""] * (len(_COLUMNS) - 2))
    decibel = "exact" if figures["sqnr_db"] is None else f"{figures['sqnr_db']:.2f} dB"
    return (
        title,
        f"{figures['relative_error']:.4f}",
        decibel,
        f"{figures['worst_group']:.3f}",
        f"{figures['cosine']:.6f}",
        f"{figures['saturated_share']:.2%}",
        f"{figures['zeroed_share']:.2%}",
    )
