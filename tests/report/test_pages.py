"""Reports: whole documents or whole pages, nothing fetched, nothing unescaped, nothing half."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grokpack import storage
from grokpack.cli.app import app
from grokpack.report import html, svg
from tests.report.test_schemas import check
from tests.support.checkpoints import GOLDEN, synthesize

VOID = {"meta"}


class Page(HTMLParser):
    """A page taken apart: its tags, its text, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str, **attributes: str) -> int:
        return sum(t == tag and attributes.items() <= a.items() for t, a in self.tags)


def report(tmp_path: Path, *arguments: str | Path, status: int = 0) -> Page:
    path = tmp_path / "report.html"
    words = [*map(str, arguments), "--progress", "none", "--report", str(path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == status, done.output
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_of_an_inspection_shows_shares_heat_and_histograms(tmp_path: Path) -> None:
    page = report(tmp_path, "inspect", GOLDEN, "--stats")
    assert page.count("svg", **{"class": "shares"}) == 1
    assert page.count("svg", **{"class": "bars"}) == 14  # 12 kinds of a layer and 2 outside
    assert sum(t == "td" and "heat" in (a.get("class") or "") for t, a in page.tags) == 3 * 12
    assert "d_model" in page.text
    assert "None in 38 tensors." in page.text


def test_an_inspection_without_statistics_shows_only_what_headers_tell(tmp_path: Path) -> None:
    page = report(tmp_path, "inspect", GOLDEN)
    assert page.count("svg") == 1
    assert "rms by layer" not in page.text


def test_the_page_of_a_verification_shows_findings_and_the_layers_they_are_in(
    tmp_path: Path,
) -> None:
    source = synthesize(tmp_path / "m")
    assert "Findings" in report(tmp_path, "verify", source).text
    (source / "ckpt-0" / "tensor00004_000").unlink()
    page = report(tmp_path, "verify", source, status=1)
    assert "GP101" in page.text
    assert "1 of 12 bad" in page.text
    assert page.count("li", **{"class": "bad"}) == 1
    assert page.count("li") == 2


def test_the_page_of_a_failed_command_says_why(tmp_path: Path) -> None:
    page = report(tmp_path, "verify", tmp_path / "nowhere", status=3)
    assert "The command failed" in page.text
    assert "GP201" in page.text
    report(tmp_path, "inspect", GOLDEN, "no/such/tensor", status=2)


def test_pages_run_and_fetch_nothing(tmp_path: Path) -> None:
    pages = (
        report(tmp_path, "inspect", GOLDEN, "--stats"),
        report(tmp_path, "verify", GOLDEN),
        report(tmp_path, "verify", tmp_path / "nowhere", status=3),
    )
    for page in pages:
        names = {name for _, attributes in page.tags for name in attributes}
        assert not names & {"src", "href", "srcset", "action", "onclick"}
        assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe"}
        assert "url(" not in page.text
        assert "@import" not in page.text
        policies = [a["content"] for _, a in page.tags if "http-equiv" in a]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
        assert page.count("meta", name="viewport") == 1
        assert "prefers-color-scheme: dark" in page.text


def test_names_from_a_checkpoint_are_text_and_never_markup(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "<script>alert(1)<")
    (source / "ckpt-0" / "tensor<img src=x>").write_bytes(b"?")
    page = report(tmp_path, "verify", source, status=1)
    assert "<script>alert(1)<" in page.text
    assert "tensor<img src=x>" in page.text
    assert not {tag for tag, _ in page.tags} & {"script", "img"}


def test_attributes_are_escaped_too() -> None:
    made = html.element("p", title='"><script>')
    assert made == '<p title="&quot;&gt;&lt;script&gt;"></p>'
    assert "<b>" not in svg.shares([("<b>", 1.0)])


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("verify", "report.txt"),
        ("verify", "report"),
        ("inspect", "report.htm"),
        ("reshard", "report.html"),
    ],
)
def test_a_report_of_another_form_is_refused_before_work_begins(
    tmp_path: Path, command: str, name: str
) -> None:
    words = [command, str(GOLDEN), "--report", str(tmp_path / name)]
    done = CliRunner().invoke(app, [*words, *(["--tp", "2"] if command == "reshard" else [])])
    assert done.exit_code == 2
    assert "GP346" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
    assert not (GOLDEN.parent / "tiny3-tp2").exists()


@pytest.mark.parametrize(
    "arguments",
    [("verify", GOLDEN), ("verify", "nowhere"), ("inspect", GOLDEN, "no/such/tensor")],
)
def test_a_json_report_is_the_document_also_of_a_failure(
    tmp_path: Path, arguments: tuple[str | Path, ...]
) -> None:
    path = tmp_path / "report.json"
    words = [*map(str, arguments), "--report", str(path), "--json"]
    done = CliRunner().invoke(app, words)
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    check(stored)
    assert stored["exit_code"] == done.exit_code
    assert stored == json.loads(done.stdout)


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")

    def full(operation: str, _path: str) -> None:
        if operation == "publish":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.faults, "hook", full)
    done = CliRunner().invoke(app, ["verify", str(GOLDEN), "--report", str(path)])
    assert done.exit_code == 5
    assert "GP401" in done.stderr
    assert path.read_text(encoding="utf-8") == "old"


def test_a_value_as_the_median_is_not_shaded_and_twice_of_it_is_fully() -> None:
    from grokpack.report import statistics_sections

    shades = [
        re.search(r"--low: (\d+)", statistics_sections._cell(value, 1.0))
        for value in (1.0, 2.0, 8.0, 0.5, 0.0, None)
    ]
    assert [int(found[1]) for found in shades if found] == [0, 80, 80, 80, 0, 0]
    assert "high" in statistics_sections._cell(2.0, 1.0)
    assert "high" not in statistics_sections._cell(0.5, 1.0)


def test_bins_are_named_by_their_edges() -> None:
    from grokpack.report import statistics_sections

    floats: Any = {"of": "magnitude", "edges": [0.0, 0.5, 1.0, 3.4e38]}
    assert statistics_sections._bins(floats) == ["to 2^-1", "from 2^-1 to 2^0", "from 2^0 up"]
    codes: Any = {"of": "codes", "edges": [-128, -112, -96]}
    assert statistics_sections._bins(codes) == ["-128 .. -113", "-112 .. -97"]


def test_values_and_scales_that_are_not_sound_are_listed() -> None:
    from grokpack.report import statistics_sections

    scales = {"nan": 0, "posinf": 1, "neginf": 0, "zero": 2, "negative": 0}
    rows: Any = [
        {"name": "sound", "nan": 0, "posinf": 0, "neginf": 0, "zero": 5, "scales": None},
        {"name": "odd", "undefined": 1234, "zero": 5, "scales": scales},
    ]
    page = Page(statistics_sections._unsound(rows))
    assert "odd1,2343" in page.text
    assert "sound" not in page.text
