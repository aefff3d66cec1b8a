"""Text of `grokpack diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.counts import counted, noun_form
from grokpack.core.escaping import escape_line
from grokpack.models.family import OTHER_DIMENSIONS
from grokpack.report.text import numbers
from grokpack.verification.compare import DIFFERENT, EQUAL, ROUNDED
from grokpack.verification.value_locations import describe_index

if TYPE_CHECKING:
    from grokpack.core.documents.comparison_json import ComparisonJson
    from grokpack.verification.compare import Comparison, Difference

_MOST_SHOWN = 20  # tensors; more say nothing new
WORDS = {
    EQUAL: "every value is equal",
    ROUNDED: "one side is the other, rounded to its dtype",
    DIFFERENT: "values differ",
}


def render(found: Comparison, data: ComparisonJson) -> str:
    """Render counts by state, the worst tensors, and the verdict."""
    unlike_sizes = data.get("dimensions", {})
    lines = [f"{name} {one} against {other}" for name, (one, other) in unlike_sizes.items()]
    unlike = [row for row in found.tensors if row.state == DIFFERENT]
    for row in sorted(unlike, key=lambda row: -row.relative)[:_MOST_SHOWN]:
        lines += _tensor(row)
    if len(unlike) > _MOST_SHOWN:
        more = numbers.others(len(unlike) - _MOST_SHOWN, "tensor")
        lines.append(f"{more} (`--json` has all)")
    for label, names in (("first", found.only_first), ("second", found.only_second)):
        if names:
            most = 0 if unlike_sizes else _MOST_SHOWN  # no tensor is alike in models of other sizes
            listed = escape_line(", ".join(names[:most])) or counted(len(names), "tensor")
            lines.append(f"only the {label} has, in this shape: {listed}")
    lines += [""] if lines else []
    for state, words in WORDS.items():
        count = sum(row.state == state for row in found.tensors)
        if count:
            lines.append(f"{state:<9}  {count:>4} {noun_form(count, 'tensor'):<7}   {words}")
    lines.append(f"{found.state}   {_families(data)}   ({numbers.duration(data['seconds'])})")
    return "\n".join(lines)


def _families(data: ComparisonJson) -> str:
    """Return the names of the families, whatever the dimensions are."""
    pair = (data["first_family"], data["second_family"])
    one, other = (title.removesuffix(OTHER_DIMENSIONS) for title in pair)
    return f"both {one}" if one == other else f"{one} and {other}"


def _tensor(row: Difference) -> list[str]:
    share = row.differing / row.elements
    where = describe_index(row.first, scales=False) if row.first else ""
    by = f"relative error {row.relative:.3g}, largest difference {row.largest:.3g}"
    figures = f"      {by}, {share:.1%} of the values; first at {where}"
    return [f"differs  {escape_line(row.name)}", figures]
