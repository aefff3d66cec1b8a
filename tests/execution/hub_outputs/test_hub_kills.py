"""SIGKILL while a run publishes to the hub: the next one goes on to the same files."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import pytest

from grokpack import storage
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.storage.http import services
from grokpack.storage.hub import hub_client, hub_publisher
from tests.support.bucket_outputs import plan_of
from tests.support.checkpoints import tree
from tests.support.servers import Answer, Asked

if TYPE_CHECKING:
    from grokpack.planning.plan import Plan
    from tests.support.writable_hub import WritableHub

    Moment = Literal["unheard", "unanswered", "operation"]

OUT = "hf://me/grok"
FEW = 2
"""Moments of each kind at which a run is killed here; `make faults` has all."""


@dataclass
class Runs:
    """Runs in processes of their own, which are killed at a request or at an operation.

    Attributes:
        hub: The hub.
        plan: What they write.
        moment: Kind of the moments at which they are killed, and which are counted.
        nth: The moment at which the next run is killed; zero for none.
        passed: Number of moments that the last run has passed.
    """

    hub: WritableHub
    plan: Plan
    moment: Moment
    nth: int = 0
    passed: int = 0
    _process: list[int] = field(default_factory=list)

    def run(self, nth: int = 0) -> int:
        """Run; return how the process ended."""
        self.nth, self.passed = nth, 0
        self._process.clear()
        reading, writing = os.pipe()
        self.hub.fault, self.hub.server.fault = self._hear, self._answer
        process = os.fork()
        if not process:
            self._be_run(writing)
        self._process.append(process)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            self.passed += len(told.read())
        return status

    def _be_run(self, told: int) -> NoReturn:
        def operate(*_: str) -> None:
            os.write(told, b".")
            if self._is_due():
                os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            services.forget()  # connections of the process that this one was forked from
            storage.faults.hook = operate if self.moment == "operation" else None
            execute(self.plan, OUT, RunOptions(workers=1))
            status = 0
        finally:
            os._exit(status)

    def _is_due(self) -> bool:
        self.passed += 1
        return self.passed == self.nth

    def _hear(self, _asked: Asked) -> Answer | None:
        if self.moment == "unheard" and self._is_due():
            self._kill()
            return Answer(503, {})
        return None

    def _answer(self, _asked: Asked, _answer: Answer) -> None:
        if self.moment == "unanswered" and self._is_due():
            self._kill()

    def _kill(self) -> None:
        while not self._process:  # a request can be faster than the fork's return
            pass
        os.kill(self._process[0], signal.SIGKILL)


def check_moments(runs: Runs, most: int | None, cache: Path, expected: dict[str, bytes]) -> None:
    hub, moment = runs.hub, runs.moment
    assert runs.run() == 0
    total = runs.passed
    assert total > 20
    for nth in range(1, total + 1, 1 if most is None else -(-total // most)):
        for held in (hub.repositories, hub.objects, hub.parts, hub.server.asked):
            held.clear()
        for folder in (cache, *Path.cwd().iterdir()):
            shutil.rmtree(folder)
        assert runs.run(nth) == -signal.SIGKILL
        assert runs.run() == 0, f"{moment} {nth}"
        assert hub.files("me/grok") == expected, f"{moment} {nth}"
        assert not list(Path.cwd().iterdir())
        messages = hub.repositories["me/grok"].messages
        assert len(messages) == len(set(messages)), f"{moment} {nth}"
        sent = Counter(asked.path for asked in hub.server.asked if asked.method == "PUT")
        whole = [path for path in sent if path.count("/") == 1]  # others are parts of an object
        assert sum(sent[path] - 1 for path in whole) <= (moment == "unheard"), f"{moment} {nth}"


@pytest.mark.parametrize("moment", ["unheard", "unanswered", "operation"])
@pytest.mark.parametrize("most", [FEW, pytest.param(None, marks=pytest.mark.faults)])
def test_a_run_that_is_killed_goes_on_to_the_same_files(
    moment: Moment,
    most: int | None,
    hub: WritableHub,
    wide: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before the hub hears a request, before its answer arrives, or in between."""
    monkeypatch.setattr(hub_publisher, "MOST_WAITING_BYTES", 100_000)
    monkeypatch.setattr(hub_client, "THREADS", 1)  # others could be killed in mid upload as well
    plan = plan_of("ckpt-0", wide)
    execute(plan, str(tmp_path / "local"))
    expected = tree(tmp_path / "local")
    check_moments(Runs(hub, plan, moment), most, tmp_path / "cache", expected)
