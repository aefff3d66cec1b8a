"""What every part of the benchmarks is given: room, checkpoints that parts share, and the table."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.measuring import GROKPACK, PROMISED_MIB, Run, grokpack, watch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.figures import Table

MODELS = ("grok-1", "grok-2")
TINY = (  # rows of whole blocks of GGUF
    *("--preset", "tiny", "--layers", "1", "--d-model", "256", "--ffn", "512"),
    *("--heads", "8", "--kv-heads", "8", "--head-dim", "32"),
)


@dataclass
class Bench:
    """One part at work.

    Attributes:
        part: Its name.
        work: A folder of its own in memory, which is removed after it.
        shared: A folder of checkpoints that parts have in common.
        table: Takes the figures.
        turns: How often each thing is measured.
        quick: True where three minutes must do: smaller checkpoints.
    """

    part: str
    work: Path
    shared: Path
    table: Table
    turns: int
    quick: bool

    def figure(
        self,
        name: str,
        values: Sequence[float] | float,
        unit: str = "",
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:
        """Add a line to the table."""
        turns = (values,) if isinstance(values, float | int) else tuple(values)
        self.table.add(self.part, Figure(name, turns, unit, at_most, at_least))

    def peak(self, name: str, runs: Sequence[Run], at_most: float = PROMISED_MIB) -> None:
        """Add the largest resident memory of some runs."""
        self.figure(name, max(run.peak for run in runs), "MiB", at_most=at_most)

    def child(self, *command: str) -> None:
        """Add the figures that a process tells, a line of JSON each."""
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        for line in done.stdout.splitlines():
            self.figure(**json.loads(line))

    def medium(self, model: str = "grok-1") -> Path:
        """Return a checkpoint of about 3 GB, 1 GB where it must be quick."""
        layers = ("--layers", "2") if self.quick else ()
        return self._synthesized(f"{model}-medium", model, "--preset", "medium", *layers)

    def sparse(self, model: str = "grok-1") -> Path:
        """Return the whole geometry of a release, as holes."""
        return self._synthesized(f"{model}-sparse", model, "--preset", model, "--sparse")

    def tiny(self, model: str = "grok-1") -> Path:
        """Return a checkpoint that costs nothing but the start."""
        return self._synthesized(f"{model}-tiny", model, *TINY)

    def _synthesized(self, name: str, model: str, *options: str) -> Path:
        folder = self.shared / name
        if not folder.exists():
            grokpack("synth", folder, "--model", model, *options)
        return folder

    def parameters(self, source: Path) -> int:
        """Return how many parameters a checkpoint has."""
        command = [*GROKPACK, "inspect", str(source), "--json", "-q"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        total: int = json.loads(done.stdout)["data"]["parameters"]["total"]
        return total

    def starting(self) -> float:
        """Seconds of `grokpack --help`, the least of some."""
        return min(watch([*GROKPACK, "--help"]).seconds for _ in range(3))
