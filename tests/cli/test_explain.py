"""Explanations: of a code, and of each code in the JSON that a command wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grokpack.cli.app import app
from grokpack.core.error_codes import CODES
from grokpack.core.finding import Finding
from tests.support.checkpoints import synthesize


def grokpack(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def explained(tmp_path: Path, findings: object = (), errors: object = ()) -> Result:
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps({"status": "whole", "findings": findings, "errors": errors}))
    return grokpack("explain", answer)


def test_the_number_alone_is_enough() -> None:
    assert grokpack("explain", "103").output == grokpack("explain", "gp103").output


def test_the_beginning_of_codes_lists_them() -> None:
    listed = grokpack("explain", "GP23").output.splitlines()
    assert [line.split()[0] for line in listed] == [c for c in CODES if c.startswith("GP23")]


def test_what_a_command_found_is_explained_where_it_was_found(tmp_path: Path) -> None:
    model = synthesize(tmp_path / "m")
    files = [model / "ckpt-0" / f"tensor0000{number}_000" for number in range(5)]
    for file in files:
        file.unlink()
    answer = tmp_path / "answer.json"
    grokpack("verify", model, "--report", answer)
    shown = grokpack("explain", answer)
    assert shown.exit_code == 0
    assert shown.stdout.count("GP") == 1
    assert "Here         tensor00000_000 to tensor00004_000" in shown.stdout
    assert CODES["GP101"].meaning.split(",", maxsplit=1)[0] in shown.stdout


def test_the_command_that_mends_it_stands_in_place_of_what_helps_in_general(
    tmp_path: Path,
) -> None:
    finding = {
        **Finding("GP103", "m", "f", None, "5 bytes", "3 bytes").row(),
        "fix": "hf download x",
    }
    shown = explained(tmp_path, [finding]).stdout
    assert "Do           hf download x\n" in shown
    assert "expected     5 bytes\n" in shown
    assert CODES["GP103"].remedy[:40] not in shown


def test_an_error_is_explained_with_its_facts_and_hint(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text(grokpack("reshard", tmp_path / "nowhere", "--tp", "2", "--json").stdout)
    shown = grokpack("explain", answer).stdout
    assert "GP201" in shown
    assert f"Here         {tmp_path / 'nowhere'}" in " ".join(shown.split("\n"))


def test_a_good_answer_needs_no_explanation(tmp_path: Path) -> None:
    assert explained(tmp_path).stdout == "nothing to explain: the answer was `whole`\n"


def test_a_code_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    found = [Finding(code, "m", "f").row() for code in ("GP899", "GP101")]
    assert explained(tmp_path, found).stdout.splitlines()[0] == "GP101  file is missing"


def test_another_file_is_refused(tmp_path: Path) -> None:
    done = explained(tmp_path, findings=[{"code": "GP103"}])
    assert done.exit_code == 2
    assert "GP346" in done.stderr
    assert grokpack("explain", tmp_path / "nothing.json").exit_code == 3


@pytest.mark.parametrize("key", ["file", "tensor", "expected", "found", "fix"])
def test_of_a_text_of_megabytes_the_beginning_is_shown(tmp_path: Path, key: str) -> None:
    """Wrapping all of it took minutes, and a gigabyte."""
    shown = explained(tmp_path, [{**Finding("GP101", "m").row(), key: "ab " * 300_000}])
    assert shown.exit_code == 0
    assert 2000 < len(shown.stdout) < 5000
