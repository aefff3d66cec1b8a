"""Every case of the corpus, and what is near it, ends in a header or in a refusal with a code."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.readers import CORPUS, READERS, one
from tests.support.project import ROOT

SECONDS = 0.4  # of mutated cases for each reader; `make fuzz-coverage` goes on for minutes
CASES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


def test_there_is_a_corpus_for_each_reader() -> None:
    assert {path.parent.name for path in CASES} == set(READERS)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_case_is_as_it_was(path: Path) -> None:
    """The name of a case says what came of it: a code, or `taken`."""
    found = one(path.parent.name, path.read_bytes()) or "taken"
    assert path.name.startswith(found)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_near_a_case_ends_well(reader: str) -> None:
    """Mutated at random, for a while: spliced, cut, flipped, with numbers that hurt."""
    chance = random.Random(reader)
    cases = [path.read_bytes() for path in CASES if path.parent.name == reader]
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        data = bytearray(chance.choice(cases))
        for _ in range(chance.randrange(1, 5)):
            _mutate(data, chance, cases)
        one(reader, bytes(data))


def _mutate(data: bytearray, chance: random.Random, cases: list[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    kind = chance.randrange(5)
    if kind == 0 and data:
        data[at - 1] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[at : at + chance.randrange(1, 40)]
    elif kind == 2:
        other = chance.choice(cases)
        first = chance.randrange(len(other) + 1)
        data[at:at] = other[first : first + chance.randrange(1, 200)]
    elif kind == 3:
        number = chance.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
        data[at : at + 8] = number.to_bytes(8, "little")
    else:
        data[at:at] = bytes([chance.randrange(256)]) * chance.randrange(1, 9)


@pytest.mark.parametrize("reader", READERS)
def test_coverage_leads_to_no_bad_end(reader: str, tmp_path: Path) -> None:
    """atheris for a second; `make fuzz-coverage` goes on for minutes."""
    pytest.importorskip("atheris", reason="atheris has no wheels here")
    # The peak that libFuzzer judges begins with that of the process that starts it: a small shell.
    program = [sys.executable, "-m", "tests.faults.readers", "1", reader]
    done = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", *program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stderr.split("stat::number_of_executed_units:")[1].split()[0]) > 100
