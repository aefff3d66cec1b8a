"""Parts of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from grokpack.execution.run_options import RunOptions
from grokpack.execution.run_part import RunPart, execute_part

if TYPE_CHECKING:
    from grokpack.execution.run import Outcome
    from grokpack.planning.plan import Plan

ONE = RunOptions(workers=1)


def resharding(source: Path, out: Path) -> list[str]:
    """The words of the command of `plan`."""
    return ["reshard", str(source), "--tp", "4", "--to", "ckpt-0", "-o", str(out)]


def do(plan: Plan, out: Path, number: int, count: int) -> Outcome:
    return execute_part(plan, str(out), RunPart(number, count), RunOptions(workers=1))
