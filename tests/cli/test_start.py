"""The beginning of a command: what it imports, and how a line that is no command is answered."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from junitparser import JUnitXml

from grokpack.cli.app import main

HEAVY = ("numpy", "grokpack.storage")
WAYS = [
    (("--format", "FORM"), ""),
    (("--format=FORM",), ""),
    ((), "FORM"),
    (("--format", "text", "--format", "FORM"), "text"),
]


def test_help_imports_nothing_heavy_and_compiles_no_pattern_of_secrets() -> None:
    script = (
        "import sys; from grokpack.cli import app; from grokpack.core import redaction\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "print(loaded, redaction._pattern.cache_info().currsize)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[0] == "[] 0"


@pytest.mark.parametrize(("words", "setting"), WAYS)
@pytest.mark.parametrize("form", ["json", "github", "junit"])
def test_a_usage_error_is_told_in_the_form_asked_for(
    form: str,
    words: tuple[str, ...],
    setting: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = [word.replace("FORM", form) for word in words]
    monkeypatch.setattr(sys, "argv", ["grokpack", "reshard", "--tp", "many", *asked])
    monkeypatch.setenv("GROKPACK_FORMAT", setting.replace("FORM", form))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert main() == 2
    told = capsys.readouterr()
    assert "--tp" in told.err
    if form == "json":
        assert json.loads(told.out)["errors"][0]["code"] == "GP304"
    elif form == "junit":
        assert JUnitXml.fromstring(told.out).errors == 1
        assert "GP304" in told.out
    else:
        assert told.out.startswith("::error title=grokpack GP304::")


@pytest.mark.parametrize("words", [(), ("--format", "text"), ("--format", "xml")])
def test_a_usage_error_is_told_on_stderr_alone_where_no_machine_reads(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["grokpack", "reshard", "--tp", "many", *words])
    assert main() == 2
    assert capsys.readouterr().out == ""
