"""A crash at each operation of each command that writes, continued to the bytes of a clean run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.crashing import (
    PLANNERS,
    Crash,
    contents,
    counted,
    crashing,
    name_of,
    write_plan,
)
from tests.support.checkpoints import synthesize
from tests.support.fuzzing import TINY

FEW = 5
"""Operations of a command before which it is stopped here, spread evenly; `make faults` has all."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model", TINY, seed=2)


def crash_everywhere(command: str, source: Path, work: Path, most: int | None) -> None:
    """All in one place: what points at the source, a view, depends on where it is itself.

    It is planned once, which is most of what a small output costs.
    """
    out = name_of(command, work / "place")
    out.parent.mkdir()
    plan = PLANNERS[command](source, out)
    with counted() as operations:
        write_plan(plan, out)
    expected, names = contents(out), _file_names(out)
    total = len(operations)
    assert total > 3
    chosen = range(total)
    if most is not None:
        first = list(PLANNERS).index(command) % max(1, total // most)
        chosen = range(first, total, -(-total // most))
    for count in chosen:
        shutil.rmtree(out.parent)
        out.parent.mkdir()
        with pytest.raises(Crash), crashing(count):
            write_plan(plan, out)
        _check_nothing_looks_whole(out, expected, command)
        write_plan(plan, out)
        found = contents(out)
        assert found.keys() == expected.keys(), f"{command}: crashed before operation {count}"
        unlike = [name for name in found if found[name] != expected[name]]
        assert not unlike, f"{command}: crashed before operation {count}"
        assert _file_names(out) == names, f"{command}: crashed before operation {count}"


def _file_names(out: Path) -> list[str]:
    """All that is there, hidden or not: a run leaves neither temporary files nor locks."""
    return sorted(path.relative_to(out.parent).as_posix() for path in out.parent.rglob("*"))


def _check_nothing_looks_whole(out: Path, expected: dict[str, bytes], command: str) -> None:
    """A manifest is there only where everything is."""
    found = contents(out)
    if any(name in found for name in ("out/grokpack.json", "out.gguf.grokpack.json")):
        assert found == expected, f"{command}: a manifest without all that it lists"


@pytest.mark.parametrize("command", PLANNERS)
def test_a_crash_anywhere_is_continued(command: str, source: Path, tmp_path: Path) -> None:
    crash_everywhere(command, source, tmp_path, FEW)


@pytest.mark.faults
@pytest.mark.parametrize("command", PLANNERS)
def test_a_crash_at_each_operation_is_continued(command: str, source: Path, tmp_path: Path) -> None:
    crash_everywhere(command, source, tmp_path, None)
