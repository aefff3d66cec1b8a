"""Any order of running, crashing, damaging and continuing: what is called whole is whole.

A state machine of hypothesis tries orders that nobody thought of.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from tests.faults.crashing import Crash, contents, crashing
from tests.faults.damage import judged
from tests.support.checkpoints import synthesize
from tests.support.content_checks import flip
from tests.support.fuzzing import TINY

REFUSED = ("GP321", "GP323", "GP209")
"""Another plan's output, or strangers in the folder, or a manifest that is none: damage may have
made it look so. It is said, and nothing is overwritten; `--restart` begins anew."""


def _refused(error: GrokpackError) -> None:
    if error.code not in REFUSED:
        raise error


class Outputs(RuleBasedStateMachine):
    """One output folder, whatever happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Path(tempfile.mkdtemp(prefix="grokpack-states-"))
        self.out = self.work / "place" / "out"

    @initialize()
    def begin(self) -> None:
        self.source = synthesize(self.work / "source", TINY, seed=4)
        self.out.parent.mkdir()
        self._run()
        self.clean = contents(self.out)
        self._forget()

    def teardown(self) -> None:
        shutil.rmtree(self.work)

    def _run(self, *, restart: bool = False) -> None:
        plan = plan_reshard(open_checkpoint(str(self.source)), 2)
        execute(plan, str(self.out), RunOptions(workers=1, restart=restart))

    def _forget(self) -> None:
        shutil.rmtree(self.out.parent)
        self.out.parent.mkdir()

    def _files(self) -> list[Path]:
        found = [p for p in sorted(self.out.parent.rglob("*")) if p.is_file()]
        return [p for p in found if p.stat().st_size]

    @rule()
    def run(self) -> None:
        """Run, or continue, or find that it is done: then it is as good as it was."""
        try:
            self._run()
        except GrokpackError as error:
            _refused(error)
        else:
            assert (self.out / "grokpack.json").exists()

    @rule()
    def run_anew(self) -> None:
        """`--restart` mends whatever was done to it."""
        try:
            self._run(restart=True)
        except GrokpackError as error:
            _refused(error)
        else:
            assert contents(self.out) == self.clean

    @rule(count=st.integers(0, 60), restart=st.booleans())
    def crash(self, count: int, restart: bool) -> None:
        try:
            with crashing(count):
                self._run(restart=restart)
        except Crash:
            pass
        except GrokpackError as error:
            _refused(error)

    @precondition(lambda self: self._files())
    @rule(data=st.data())
    def damage(self, data: Any) -> None:
        """Flip a bit of any file that is there, or cut its end off."""
        path = data.draw(st.sampled_from(self._files()), label="file")
        byte = data.draw(st.integers(0, path.stat().st_size - 1), label="byte")
        if data.draw(st.booleans(), label="cut"):
            path.write_bytes(path.read_bytes()[:byte])
        else:
            flip(path, byte, data.draw(st.integers(0, 7), label="bit"))

    @precondition(lambda self: self._files())
    @rule(data=st.data())
    def lose(self, data: Any) -> None:
        """A file is gone."""
        data.draw(st.sampled_from(self._files()), label="file").unlink()

    @rule()
    def forget(self) -> None:
        self._forget()

    @invariant()
    def what_is_called_whole_is_whole(self) -> None:
        if not (self.out / "grokpack.json").exists() or judged(self.out) != "whole":
            return
        found = contents(self.out)
        weights = {n: data for n, data in found.items() if n.endswith(".safetensors")}
        assert weights == {n: d for n, d in self.clean.items() if n.endswith(".safetensors")}


Outputs.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestOutputs = Outputs.TestCase
