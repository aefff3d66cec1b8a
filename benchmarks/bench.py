"""What every part of the benchmarks is given: room, checkpoints that parts share, and the table."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure
from benchmarks.measuring import GROKPACK, PROMISED_MIB, Run, grokpack, watch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.figures import Table

MODELS = ("grok-1", "grok-2")
THIN = {  # whole blocks of every format
    "grok-1": ("--d-model", "256", "--ffn", "512"),
    "grok-2": ("--d-model", "256", "--ffn", "512", "--mlp", "1024"),
}
HALF = {"grok-1": ("--d-model", "768"), "grok-2": ("--d-model", "1024")}


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
        return self._medium(f"{model}-medium", model)

    def thin(self, model: str = "grok-1") -> Path:
        """Return a medium one whose matrices are small: all its files, tensors and tokens, 0.1 GB.

        A command takes as long for it as for the medium one, but for what grows with bytes.
        """
        return self._medium(f"{model}-thin", model, *THIN[model])

    def half(self, model: str = "grok-1") -> Path:
        """Return a medium one of half the width: as many files, tensors and tokens."""
        return self._medium(f"{model}-half", model, *HALF[model])

    def sparse(self, model: str = "grok-1") -> Path:
        """Return the whole geometry of a release, as holes."""
        return self._synthesized(f"{model}-sparse", model, "--preset", model, "--sparse")

    def _medium(self, name: str, model: str, *options: str) -> Path:
        layers = ("--layers", "2") if self.quick else ()
        return self._synthesized(name, model, "--preset", "medium", *layers, *options)

    def _synthesized(self, name: str, model: str, *options: str) -> Path:
        folder = self.shared / name
        if not folder.exists():
            grokpack("synth", folder, "--model", model, *options)
        return folder

    def parameters(self, source: Path) -> int:
        """Return how many parameters a checkpoint has."""
        total: int = self.inspected(source)["parameters"]["total"]
        return total

    def inspected(self, source: Path) -> dict[str, Any]:
        """Return what `inspect --json` says of a checkpoint."""
        command = [*GROKPACK, "inspect", str(source), "--json", "-q"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        data: dict[str, Any] = json.loads(done.stdout)["data"]
        return data

    def starting(self) -> float:
        """Seconds of `grokpack --help`, the least of some."""
        return min(watch([*GROKPACK, "--help"]).seconds for _ in range(3))
