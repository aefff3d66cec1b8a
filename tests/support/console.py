"""Console blocks of a Markdown page, run from top to bottom in one folder.

    ```console
    $ grokpack verify tiny
    ok  structure: 38 files ...
    ```

What a command prints, errors included, must be what stands below it; times, rates, digests and
free space may differ, but a plan has one digest in all of a page. A line of `...` stands for any
lines, `...` in a line for any characters. A command must end with status 0, unless the next one is
`echo $?`. A block after a comment `<!-- not run: REASON -->` is left out; the commands of
`<!-- run: COMMAND -->` are run unseen.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_FENCE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(  # a backslash at the end of a line continues the command
    r"^\$ (?P<command>(?:.*\\\n)*.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE
)
_BEFORE = re.compile(r"<!-- (not run|run): ((?:(?!-->).)*?) -->\s*\Z", re.DOTALL)
_VARYING = (
    (re.compile(r"^  time     about .*(?:\n {11}.*)*$", re.MULTILINE), "  time     about"),
    (re.compile(r"\b\d+(\.\d+)? [kMGT]?B free at \S+"), "FREE"),
    (re.compile(r"\b\d+(\.\d+)? [kMGT]?B/s"), "RATE"),
    (re.compile(r"\b\d[\d.e+]* tokens/s"), "SPEED"),
    (re.compile(r"\b(\d+h\d\dm|\d+m\d\ds|\d+\.\d s)(?!\w)"), "TIME"),
    (re.compile(r"\bplan( +)[0-9a-f]{6}\b(?: there, [0-9a-f]{6} here)?"), r"plan\1HASH"),
    (re.compile(r"\bgrokpack \d+\.\d+\.\d+\b"), "grokpack VERSION"),
    # What the order of a sum leaves of float32, if anything: it differs between processors.
    (re.compile(r"\b\d\.\d+e-(0[789]|1\d)\b|  0\.0000\b"), "1e-08"),
)
_PLAN = re.compile(r"\bplan +([0-9a-f]{6})\b")
_STATUS = "echo $?"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a page.

    Attributes:
        line: Where in the page its block begins.
        command: What is run.
        expected: What it should print; None for one that is run unseen.
        at: Where in the page that begins.
    """

    line: int
    command: str
    expected: str | None
    at: int = 0


@dataclass(frozen=True, slots=True)
class Unrun:
    """A block that is not run, and why."""

    line: int
    reason: str


def read(text: str) -> Iterator[Step | Unrun]:
    """Every console block of a page, in order."""
    for fence in _FENCE.finditer(text):
        line = text.count("\n", 0, fence.start()) + 1
        before = _BEFORE.search(text[: fence.start()])
        if before and before[1] == "not run":
            yield Unrun(line, before[2])
            continue
        if before:
            yield from (Step(line, command, None) for command in before[2].splitlines())
        yield from _steps(text, fence, line)


def _steps(text: str, fence: re.Match[str], line: int) -> Iterator[Step]:
    assert fence[1].startswith("$ "), f"line {line}: a block begins with a command"
    for found in _COMMAND.finditer(text, fence.start(1), fence.end(1)):
        command = re.sub(r"\\\n\s*", "", found["command"])
        yield Step(line, command, found["output"], found.start("output"))


def results(
    steps: list[Step], folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[Step, subprocess.CompletedProcess[str]]]:
    """Run a page's commands, each with the status of the one before as `$?`."""
    status = 0
    for step in steps:
        done = subprocess.run(
            ["sh", "-c", f"(exit {status}); {step.command}"],
            cwd=folder,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        status = done.returncode
        yield step, done


def run(steps: list[Step], folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a page's commands; yields what is not as the page says."""
    digests: set[tuple[str, str]] = set()
    asked = [step.command == _STATUS for step in steps[1:]] + [False]
    for (step, done), is_asked in zip(results(steps, folder, environment), asked, strict=False):
        if step.expected is not None and not matches(step.expected, done.stdout):
            yield f"line {step.line}: $ {step.command}\nexpected\n{step.expected}\n{done.stdout}"
        digests.update(plans(step.expected or "", done.stdout))
        if done.returncode and not is_asked:
            ending = f"ended with {done.returncode}, unsaid"
            yield f"line {step.line}: $ {step.command}\n{ending}\n{done.stdout}"
    if not len({shown for shown, _ in digests}) == len({own for _, own in digests}) == len(digests):
        yield f"plans are not told apart by the digests shown: {sorted(digests)} (shown, printed)"


def plans(expected: str, printed: str) -> list[tuple[str, str]]:
    """Digests of plans that a page shows, each with the one that is printed in its place."""
    return list(zip(_PLAN.findall(expected), _PLAN.findall(printed), strict=False))


def matches(expected: str, printed: str) -> bool:
    """Whether what was printed is what stands in the page."""
    pattern = re.escape(steady(expected.strip("\n")))
    pattern = pattern.replace(r"\.\.\.", r"(?s:.*?)")
    return re.fullmatch(pattern, steady(printed.strip("\n"))) is not None


def steady(text: str) -> str:
    """The text without what differs from run to run and from machine to machine."""
    for varying, name in _VARYING:
        text = varying.sub(name, text)
    return "\n".join(line.rstrip() for line in text.splitlines())
