"""Answers for machines: GitHub's commands, JUnit XML, and the action, run as GitHub would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from junitparser import Error, Failure, JUnitXml, TestSuite

from grokpack.report import github, junit
from tests.support.checkpoints import GOLDEN, synthesize
from tests.support.forked import run
from tests.support.project import ROOT

ACTION = ROOT / "action.yml"
COMMAND = re.compile(r"::(error|warning|notice) title=([^:]*)::(.*)")


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    model = synthesize(tmp_path / "model")
    (model / "ckpt-0" / "tensor00007_000").unlink()
    os.truncate(model / "ckpt-0" / "tensor00005_000", 500)
    return model


def commands(text: str) -> list[tuple[str, str, str]]:
    """Workflow commands as the runner takes them apart; other lines are plain output."""
    found = (COMMAND.fullmatch(line) for line in text.splitlines())
    return [(m[1], unquote(m[2]), unquote(m[3])) for m in found if m]


def test_github_gets_a_command_for_each_finding(damaged: Path) -> None:
    done = run("verify", damaged, "--format", "github")
    assert done.returncode == 1
    found = commands(done.stdout)
    assert [(kind, title) for kind, title, _ in found] == [
        ("error", "grokpack GP101"),
        ("error", "grokpack GP103"),
    ]
    message = found[1][2]
    assert message.startswith("tensor00005_000 (transformer/decoder_layer_0/multi_head_attention/")
    assert "\nexpected " in message
    assert "\nfound 500 bytes" in message
    assert done.stdout.splitlines()[-1] == "grokpack verify: damaged"


def test_no_text_of_ours_can_begin_another_command() -> None:
    finding = {
        "code": "GP101",
        "severity": "error",
        "file": "a\n::set-output name=x::y\r%",
        "tensor": None,
        "message": "gone",
        "expected": None,
        "found": None,
    }
    document: Any = {
        "schema": "grokpack/verify/1",
        "status": "damaged",
        "data": {},
        "findings": [finding],
        "errors": [],
    }
    lines = github.render(document).splitlines()
    assert len(lines) == 2
    assert commands(lines[0])[0][2] == "a\n\\x3a:set-output name=x::y\\r%: gone"
    assert "\n::" not in github.summary(document)


def test_the_summary_has_a_row_for_each_finding(damaged: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    done = run("verify", damaged, "--format", "github", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1
    lines = summary.read_text().splitlines()
    assert lines[:2] == ["# before", "### grokpack verify: damaged"]
    assert [line[2:7] for line in lines if line.startswith("| GP")] == ["GP101", "GP103"]


def parsed(text: str) -> TestSuite:
    (suite,) = JUnitXml.fromstring(text.encode())
    return suite


def test_junit_has_a_case_for_each_file_by_layer(damaged: Path) -> None:
    done = run("verify", damaged, "--format", "junit")
    assert done.returncode == 1
    suite = parsed(done.stdout)
    cases = {(case.classname, case.name): case.result for case in suite}
    assert len(cases) == suite.tests == 2 + 2 * 12
    assert suite.failures == 2
    red = {key: result for key, result in cases.items() if result}
    assert {name for _, name in red} == {
        "multi_head_attention/key/w",
        "multi_head_attention/query/w",
    }
    assert {group for group, _ in red} == {"layer_00"}
    assert all(isinstance(result[0], Failure) for result in red.values())
    assert {group for group, _ in cases} == {"checkpoint", "layer_00", "layer_01"}


def test_junit_of_a_whole_checkpoint_is_green() -> None:
    suite = parsed(run("verify", GOLDEN, "--format", "junit").stdout)
    assert suite.failures == suite.errors == 0
    assert all(not case.result for case in suite)


def test_junit_of_a_command_that_failed_is_an_error() -> None:
    done = run("verify", "nowhere", "--format", "junit")
    assert done.returncode == 3
    (case,) = parsed(done.stdout)
    assert isinstance(case.result[0], Error)
    assert case.result[0].type == "GP201"


def test_junit_holds_whatever_a_file_is_called() -> None:
    finding = {
        "code": "GP102",
        "severity": "error",
        "file": 'tensor<&"\x01\ud800]]>',
        "tensor": None,
        "message": "x",
        "expected": None,
        "found": None,
    }
    document: Any = {"schema": "grokpack/verify/1", "data": {}, "findings": [finding], "errors": []}
    (case,) = parsed(junit.render(document))
    assert case.name == 'tensor<&"\ufffd\ufffd]]>'


# The action, run as GitHub runs it: inputs and defaults put in, each step a script of bash.


def run_action(folder: Path, **inputs: str) -> tuple[int, dict[str, str], str]:
    """Exit status, outputs and what was printed; the steps that install are left out."""
    action: dict[str, Any] = yaml.safe_load(ACTION.read_text())
    assert set(inputs) <= set(action["inputs"])
    given = {name: str(spec.get("default", "")) for name, spec in action["inputs"].items()}
    given |= inputs
    *_, step = action["runs"]["steps"]
    python = folder / "grokpack" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    # Not a link: an interpreter finds its environment by the name that it is called by.
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return run_step(folder, step, given)


def run_step(
    folder: Path, step: dict[str, Any], given: dict[str, str]
) -> tuple[int, dict[str, str], str]:
    """Exit status, outputs and what was printed of a step that is a script."""
    values = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: given[m[1]], text)
        for name, text in step["env"].items()
    }
    assert not any("${{" in text for text in [*values.values(), step["run"]])
    outputs = folder / "outputs"
    outputs.write_text("")
    environment = (
        os.environ
        | values
        | {
            "GITHUB_ACTION_PATH": str(ROOT),
            "RUNNER_TEMP": str(folder),
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        }
    )
    script = folder / "step.sh"
    script.write_text(step["run"])
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    return done.returncode, rows, done.stdout


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="GitHub's runners have bash")


@needs_bash
def test_the_action_passes_a_whole_checkpoint(tmp_path: Path) -> None:
    model = synthesize(tmp_path / "a model")
    status, outputs, text = run_action(tmp_path, path=str(model), data="true", subset="1/2")
    assert (status, outputs["ok"], outputs["findings"]) == (0, "true", "0")
    assert '"partial"' in Path(outputs["report"]).read_text()
    assert "grokpack verify: ok" in text  # of all bytes it would be whole


@needs_bash
def test_the_summary_says_what_was_not_read(tmp_path: Path) -> None:
    model = synthesize(tmp_path / "model")
    assert run_action(tmp_path, path=str(model))[0] == 0
    assert "Not read: contents, values" in (tmp_path / "summary.md").read_text()


@needs_bash
@pytest.mark.slow
def test_the_action_installs_itself_where_packages_are_refused(tmp_path: Path) -> None:
    """As the runner does it: an environment of its own, with an extra, from this very tree."""
    model = synthesize(tmp_path / "model")
    action: dict[str, Any] = yaml.safe_load(ACTION.read_text())
    given = {name: str(spec.get("default", "")) for name, spec in action["inputs"].items()}
    given |= {"path": str(model), "extras": "socks"}
    for step in action["runs"]["steps"][1:]:
        status, outputs, text = run_step(tmp_path, step, given)
        assert status == 0, text
    assert outputs["ok"] == "true"
    found = subprocess.run(
        [tmp_path / "grokpack" / "bin" / "python", "-c", "import socks, grokpack"], check=False
    )
    assert found.returncode == 0


@needs_bash
def test_the_action_fails_a_damaged_one(damaged: Path, tmp_path: Path) -> None:
    status, outputs, text = run_action(tmp_path, path=str(damaged), args="--quiet --head-dim 8")
    assert (status, outputs["ok"], outputs["findings"]) == (1, "false", "2")
    assert len(commands(text)) == 2


@needs_bash
@pytest.mark.parametrize("path", ["$(touch hacked)", "; touch hacked", "--help"])
def test_no_input_of_the_action_is_run(tmp_path: Path, path: str) -> None:
    status, outputs, _ = run_action(tmp_path, path=path, args="$(touch hacked) `touch hacked`")
    assert status == 2
    assert outputs.get("ok", "false") == "false"
    assert not list(tmp_path.rglob("hacked"))


def test_the_action_names_every_input_it_reads() -> None:
    action = yaml.safe_load(ACTION.read_text())
    named = set(re.findall(r"inputs\.([\w-]+)", ACTION.read_text()))
    assert named == set(action["inputs"])
