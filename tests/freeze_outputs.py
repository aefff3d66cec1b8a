"""Renew what `tests/test_frozen_outputs.py` holds outputs to: `python -m tests.freeze_outputs`.

Do it when outputs change on purpose, and read what is printed: each line is a change that users
will see. `--keep FOLDER` also writes there what commands said, to compare two versions word for
word. `--runs` stops the unfinished runs anew; those of an older version can then be continued no
longer, so do it only where plans have other digests than before. CHAPTERs are renewed alone, with
the interface.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support import freezing, unfinished_runs
from tests.support.frozen_commands import chapters
from tests.support.frozen_interface import interface
from tests.support.project import DATA

OUTPUTS, RUNS = DATA / "frozen_outputs.json", DATA / "unfinished_runs.json"


def read(path: Path) -> dict[str, Any]:
    """What is frozen; nothing where the file is not there yet."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def outputs(keep: Path | None, only: list[str]) -> dict[str, Any]:
    """Everything to be frozen but unfinished runs, by chapter; all chapters, if none is named."""
    found: dict[str, Any] = dict(interface())
    for name, commands in chapters().items():
        if only and name not in only:
            continue
        kept: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as scratch:
            found[name] = freezing.run_chapter(commands, Path(scratch), kept)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{name}.json").write_text(json.dumps(kept, indent=1), encoding="utf-8")
    return found


def _stopped() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        unfinished_runs.synthesize(Path(scratch))
        return {
            name: unfinished_runs.freeze(name, Path(scratch) / name)
            for name in unfinished_runs.RUNS
        }


def main() -> None:
    """Freeze what is there now and print how it differs from what was frozen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapter", nargs="*", metavar="CHAPTER")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--runs", action="store_true")
    chosen = parser.parse_args()
    unknown = set(chosen.chapter) - set(chapters())
    if unknown:
        parser.error(f"there is no chapter {', '.join(sorted(unknown))}")
    before, now = read(OUTPUTS), outputs(chosen.keep, chosen.chapter)
    for name in now:
        for line in freezing.differences(before.get(name, {}), now[name]):
            sys.stdout.write(f"{line}\n")
    _write(OUTPUTS, before | now)
    if chosen.runs:
        _write(RUNS, _stopped())


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
