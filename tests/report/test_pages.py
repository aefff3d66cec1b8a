"""Reports: whole documents or whole pages, nothing fetched, nothing unescaped, nothing half."""

from __future__ import annotations

import json
import platform
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from grokpack import storage
from grokpack.cli.app import app
from grokpack.core.error_codes import CODES
from grokpack.core.finding import Finding
from grokpack.core.version import __version__
from grokpack.report.pages import findings_section, heat_table, html, statistics_sections
from tests.report.test_schemas import check
from tests.support.checkpoints import GOLDEN, synthesize

VOID = {"meta", "wbr"}


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


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(tmp_path_factory.mktemp("statistics"), "inspect", GOLDEN, "--stats")


def test_the_page_of_an_inspection_shows_shares_heat_and_histograms(statistics: Page) -> None:
    cells = [tag for tag, about in statistics.tags if "heat" in (about.get("class") or "")]
    assert statistics.count("svg", role="img") == 1 + 14  # 12 kinds of a layer, 2 outside
    assert cells == ["td"] * 3 * 12
    assert "d_model" in statistics.text
    assert "None in 38 tensors." in statistics.text


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    np.save(folder / "tokens.npy", np.arange(1, 9))
    return synthesize(folder / "m")


@pytest.mark.parametrize(
    ("command", "section"),
    [
        ("convert m --to hf -o hf", "The plan"),
        ("diff m m", "tensors equal"),
        ("evaluate m --tokens tokens.npy", "Tokens of each expert"),
        ("evaluate m --against m --tokens tokens.npy", "Relative error by layer"),
        ("inspect m --fit 2x1GB --context 64", "Fit on devices"),
        ("evaluate m --against m --against m --tokens tokens.npy", "Candidates"),
        ("generate m --tokens tokens.npy --max-new-tokens 2", "Prompt 0"),
        ("manifest m -o m.json", "What was recorded"),
        ("quantize m --bits 4 --group 32 -o int4", "Where it was lost"),
        ("reshard m --tp 2 -o tp2 --dry-run", "How long it would take"),
        ("reshard m --tp 2 -o tp2", "The run"),
        ("synth other --layers 1", "The run"),
        ("verify m", "State by layer"),
    ],
)
def test_the_page_of_every_command_says_what_was_typed_when_and_by_which_versions(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, section: str
) -> None:
    monkeypatch.chdir(model.parent)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    page = report(tmp_path, *command.split())
    assert page.text.index(f"grokpack {command} --progress none --report") < page.text.index(
        section
    )
    assert "Begun 2023-11-14 22:13:20 UTC; exit status 0." in page.text
    assert f"grokpack {__version__}, Python {platform.python_version()}, numpy" in page.text


@pytest.mark.parametrize("time", ["", "9" * 30, "-5", "\u0665"])
def test_what_was_typed_is_one_line_and_begun_at_a_time_that_can_be(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", time)
    odd = tmp_path / "a\n::error::b\x1b"
    odd.symlink_to(model)
    page = report(tmp_path, "verify", odd)
    assert r"a\n::error::b\x1b' --progress none" in page.text
    assert re.search(r"Begun 20\d\d-", page.text)


def test_the_page_of_two_checkpoints_names_both(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    (model.parent / "second").symlink_to(model)
    page = report(tmp_path, "diff", "m", "second")
    assert "m and second - grokpack diff" in " ".join(page.text.split())


def test_the_page_of_a_generation_has_the_tokens(tmp_path: Path) -> None:
    """Beside their number, which stood in their place."""
    np.save(tmp_path / "prompt.npy", np.arange(1, 9))
    words = ("--tokens", tmp_path / "prompt.npy", "--max-new-tokens", "3")
    done = CliRunner().invoke(app, ["generate", str(GOLDEN), *map(str, words)])
    page = report(tmp_path, "generate", GOLDEN, *words)
    assert done.stdout.splitlines()[0] in page.text


def test_the_page_of_a_plan_has_words_for_choices_that_are_made_or_not(tmp_path: Path) -> None:
    page = report(tmp_path, "synth", tmp_path / "out", "--dry-run")
    assert "sparseno" in "".join(page.text.split())


def test_a_finding_stands_with_its_command_and_with_what_its_code_means() -> None:
    found = Finding("GP101", "file is missing", "a/b").row()
    fix = "hf download x --include 'a/b'"
    page = Page(findings_section.findings([{**found, "fix": fix}]))
    assert fix in page.text
    assert CODES["GP101"].meaning in page.text
    assert CODES["GP101"].remedy.replace("`", "") in page.text
    assert "expected" not in page.text  # of columns without a value


def test_a_page_says_once_what_was_found_of_many_files() -> None:
    found = [Finding("GP101", "file is missing", f"c/{n}").row() for n in (*range(900), 902, 904)]
    page = Page(findings_section.findings(found))
    assert "Findings: 902" in page.text
    assert "file is missing: 902 files" in page.text
    assert "c/0 to c/899" in page.text
    assert page.text.count("GP101") == 2  # in the table, and where it is explained


def test_words_between_backticks_are_code() -> None:
    assert html.prose("run `a <b>` now") == "run <code>a &lt;b&gt;</code> now"


def test_secrets_of_the_command_line_are_not_on_the_page(tmp_path: Path) -> None:
    page = report(tmp_path, "verify", "https://user:hunter22@localhost:1/x", status=2)
    assert "grokpack verify" in page.text
    assert "hunter22" not in page.text


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


def test_pages_run_and_fetch_nothing(tmp_path: Path, statistics: Page) -> None:
    pages = (
        statistics,
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


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("verify", "report.txt"),
        ("verify", "report"),
        ("inspect", "report.htm"),
    ],
)
def test_a_report_of_another_form_is_refused_before_work_begins(
    tmp_path: Path, command: str, name: str
) -> None:
    done = CliRunner().invoke(app, [command, str(GOLDEN), "--report", str(tmp_path / name)])
    assert done.exit_code == 2
    assert "GP346" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


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
    values = dict(enumerate((1.0, 2.0, 8.0, 0.5, 0.0)))
    table = heat_table.around(
        {"w": "weight"}, {(n, "w"): v for n, v in values.items()}, "g", {"w": 1.0}, "median"
    )
    assert re.findall(r"--shade:(\d+)", table) == ["0", "60", "60", "60", "60"]
    assert re.findall(r'class="(heat[^"]*)" style="--shade:60', table) == [
        *["heat high"] * 2,
        *["heat"] * 2,
    ]
    assert [end in Page(table).text for end in ("half", "median", "twice")] == [True] * 3


def test_a_scale_from_zero_says_where_it_ends_and_a_missing_value_has_no_shade() -> None:
    values = {(0, "a"): 0.01, (0, "b"): 0.02, (1, "a"): 0.0}
    table = heat_table.above_zero({"a": "query", "b": "key"}, values, ".1%", 0.02)
    assert re.findall(r"--shade:(\d+)", table) == ["30", "60", "0", "0"]
    assert Page(table).text.startswith("0.0%2.0%")


def test_magnitudes_are_drawn_an_octave_apart_and_labelled_by_their_powers() -> None:
    places, labels = statistics_sections._octaves([0.0, 0.25, 0.5, 1.0, 3.4e38])
    assert places == [-3, -2, -1, 0, 1]
    assert labels == ["0", "2⁻²", "2⁻¹", "2⁰", "∞"]


def test_values_and_scales_that_are_not_sound_are_listed() -> None:
    scales = {"nan": 0, "posinf": 1, "neginf": 0, "zero": 2, "negative": 0}
    rows: Any = [
        {"name": "sound", "nan": 0, "posinf": 0, "neginf": 0, "zero": 5, "scales": None},
        {"name": "odd", "undefined": 1234, "zero": 5, "scales": scales},
    ]
    page = Page(statistics_sections._unsound(rows))
    assert "odd1,2343" in page.text
    assert "sound" not in page.text
