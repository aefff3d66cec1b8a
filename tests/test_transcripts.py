"""What the documentation shows is what happens: console blocks, Python blocks, examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import console, forked
from tests.support.checkpoints import synthesize
from tests.support.documentation import PAGES, environment
from tests.support.project import ROOT

ELSEWHERE = {"on_mpi.py": ("mpi4py",), "on_ray.py": ("ray",)}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MOST_LINES = 40  # an example is read at a glance


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [p for p in PAGES if "```console" in p.read_text()], ids=_name)
def test_a_page_shows_what_happens(page: Path, tmp_path: Path) -> None:
    blocks = list(console.read(page.read_text(encoding="utf-8")))
    assert all(block.reason.strip() for block in blocks if isinstance(block, console.Unrun))
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    forked.shim(tmp_path / "bin")
    steps = [block for block in blocks if isinstance(block, console.Step)]
    wrong = list(console.run(steps, tmp_path / "work", environment(tmp_path / "bin")))
    assert not wrong, "\n".join(wrong)


def test_no_console_block_escapes_the_parser() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = len(re.findall(r"^\s*```console", text, re.MULTILINE))
        blocks = {block.line for block in console.read(text)}
        assert len(blocks) == fences, _name(page)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("wrote it   0.7 s\n", "wrote it   12m05s\n", True),
        ("plan 3961a8  5 MB\n", "plan ffffff  5 MB\n", True),
        ("read 2.1 GB/s\n", "read 930.00 MB/s\n", True),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("a ... z\n", "a b z\n", True),
        ("5.67 MB\n", "5.68 MB\n", False),
        ("a\n", "a\nb\n", False),
        ("error[GP101]\n", "error[GP103]\n", False),
    ],
)
def test_only_times_rates_and_digests_may_differ(expected: str, printed: str, same: bool) -> None:
    assert console.matches(expected, printed) is same


def test_a_comment_belongs_to_the_block_below_it_alone() -> None:
    block = "```console\n$ true\n```\n"
    page = f"<!-- not run: slow -->\n{block}\n<!-- run: true -->\n{block}\n{block}"
    unrun, *steps = console.read(page)
    assert unrun == console.Unrun(2, "slow")
    assert [step.expected for step in steps if isinstance(step, console.Step)] == [None, "", ""]


def test_a_command_may_go_on_in_the_next_line() -> None:
    page = "```console\n$ echo a \\\n    b\na b\n$ true\n```\n"
    first, second = (block for block in console.read(page) if isinstance(block, console.Step))
    assert (first.command, first.expected) == ("echo a b", "a b\n")
    assert page[first.at :].startswith("a b\n$ true")
    assert second.expected == ""


def test_a_page_is_rewritten_where_it_is_wrong_and_nowhere_else(tmp_path: Path) -> None:
    from tests.support.rewrite_console import rewrite

    page = tmp_path / "page.md"
    text = "one\n\n```console\n$ echo a\n{}\n$ echo 5.0 s\n7.1 s\n```\n\ntwo\n"
    page.write_text(text.format("b"), encoding="utf-8")
    (tmp_path / "scratch").mkdir()
    assert rewrite(page, tmp_path / "scratch")
    assert page.read_text(encoding="utf-8") == text.format("a")


def test_a_page_that_says_what_does_not_happen_is_noticed(tmp_path: Path) -> None:
    page = "```console\n$ echo one\ntwo\n$ false\n$ echo three\nthree\n$ false\n$ echo $?\n1\n```\n"
    steps = [block for block in console.read(page) if isinstance(block, console.Step)]
    wrong = list(console.run(steps, tmp_path, os.environ))
    assert [text.split("\n")[0] for text in wrong] == ["line 1: $ echo one", "line 1: $ false"]


def test_a_page_that_shows_one_plan_under_two_names_is_noticed(tmp_path: Path) -> None:
    page = "```console\n$ echo plan 00000a\nplan {}\n$ echo plan 00000{}\nplan {}\n```\n"
    for digests, is_told in [
        (("ffffff", "a", "ffffff"), True),
        (("ffffff", "b", "eeeeee"), True),
        (("ffffff", "a", "eeeeee"), False),
        (("ffffff", "b", "ffffff"), False),
    ]:
        read = console.read(page.format(*digests))
        steps = [block for block in read if isinstance(block, console.Step)]
        assert (not list(console.run(steps, tmp_path, os.environ))) is is_told


@pytest.mark.parametrize("page", ["README.md", "docs/reference/api.md"])
def test_the_python_of_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block goes on from those before it, as a reader of the page does."""
    synthesize(tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(blocks) > 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)  # noqa: S102  # the page's own words
    assert list(tmp_path.glob("grok-1-tp*/grokpack.json"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_is_short(example: Path, tmp_path: Path) -> None:
    for module in ELSEWHERE.get(example.name, ()):
        pytest.importorskip(module)  # `make oracle-executors` has them
    assert len(example.read_text(encoding="utf-8").splitlines()) < MOST_LINES
    source = synthesize(tmp_path / "checkpoints")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example), str(source / "ckpt-0")],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_there_are_examples() -> None:
    assert {path.name for path in EXAMPLES} >= {"read_a_tensor.py", "reshard_with_progress.py"}
