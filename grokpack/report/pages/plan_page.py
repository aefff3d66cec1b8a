"""HTML page of a plan and its run: `convert`, `quantize`, `reshard` and `synth` with `--report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.planning.plan import in_words
from grokpack.report.pages import error_statistics_sections, html
from grokpack.report.pages.html import Page
from grokpack.report.text import numbers, plan_text
from grokpack.report.text.shown_paths import shown_path

if TYPE_CHECKING:
    from grokpack.core.documents.plan_json import EstimateJson, PlanAnswer, PlanJson
    from grokpack.report.pages.html import Html


def page(document: PlanAnswer) -> Page:
    """Make the page of a plan's document."""
    data = document["data"]
    sections = [_plan(data)]
    if "seconds" in data or data.get("already_done"):
        sections.insert(0, _run(data))
    if data["estimate"]:
        sections.append(_estimate(data["estimate"]))
    if "account" in data:
        sections += error_statistics_sections.sections(data["account"])
    return Page(shown_path(data["out"]), sections)


def _run(data: PlanJson) -> Html:
    """Show what was done."""
    if data["already_done"]:
        return html.section("The run", html.element("p", "An earlier run had finished the output."))
    written, seconds = data["written_bytes"], data["seconds"]
    left = data.get("outstanding_parts")
    rows = [
        ("written", byte_size(written)),
        ("time", numbers.duration(seconds)),
        ("rate", numbers.byte_rate(written / seconds) if seconds else None),
        ("processes", data["processes"] if data["processes"] > 1 else None),
        ("part", "{} of {}".format(*data["part"]) if "part" in data else None),
        ("outstanding", byte_size(data["outstanding_bytes"]) if left else None),
        ("of parts", numbers.ranges(left) if left else None),
    ]
    return html.section("The run", html.facts(rows))


def _plan(data: PlanJson) -> Html:
    rows = [
        ("from", data["source_folder"]),
        ("model", data.get("family")),
        ("written as", data["format"]),
        ("files", f"{data['files']:,}"),
        ("values", "all kept (lossless)" if data["lossless"] else "rounded, as noted below"),
        ("reads", byte_size(data["reads_bytes"]) if data["reads_bytes"] else None),
        ("writes", f"{'at most ' if data['encoding'] else ''}{byte_size(data['writes_bytes'])}"),
        ("disk", f"{byte_size(data['disk_bytes'])}{_free(data['disk_free_bytes'])}"),
        (
            "memory",
            f"{byte_size(data['memory_bytes'])} of {byte_size(data['memory_allowed_bytes'])}",
        ),
        ("workers", plan_text.workers_in_words(data)),
        ("plan", data["plan"][:12]),
    ]
    options = [
        (html.element("code", name), _value(value)) for name, value in data["parameters"].items()
    ]
    notes = html.element("ul", *(html.element("li", note) for note in data["notes"]))
    table = html.table(("option", "value"), options)
    return html.section("The plan", html.facts(rows), notes if data["notes"] else "", table)


def _free(nbytes: int) -> str:
    """Say how much is free, where that is known."""
    return f", {byte_size(nbytes)} free" if nbytes else ""


def _value(value: object) -> str:
    """Show the value of an option that changes the output."""
    return numbers.one_line_json(value) if isinstance(value, dict) else in_words(value)


def _estimate(guess: EstimateJson) -> Html:
    """Show the predicted times."""
    rows = [("here", guess["workers"], numbers.duration(guess["seconds"]), guess["limit"])]
    rows += [
        (
            "each on a machine of its own",
            row["workers"],
            numbers.duration(row["seconds"]),
            row["limit"],
        )
        for row in guess["elsewhere"]
    ]
    text = "From a short probe. More workers than the last row gain nothing."
    table = html.table(("workers", "how many", "time", "limited by"), rows, (1, 2))
    return html.section("How long it would take", html.element("p", text), table)
