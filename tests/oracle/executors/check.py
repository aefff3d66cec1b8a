"""Run the examples of executors, and compare what they write with what threads write."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
COMMANDS = {
    "on_processes.py": [sys.executable],
    "on_dask.py": [sys.executable],
    "on_mpi.py": [str(BIN / "mpiexec"), "-n", "3", sys.executable],
    "on_ray.py": [sys.executable],
}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def grokpack(*arguments: str) -> None:
    """Run a command of grokpack's."""
    subprocess.run([sys.executable, "-m", "grokpack", *arguments, "-q"], check=True)


def main() -> None:
    """Check all executors; ends with status 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    grokpack("synth", str(work / "source"), "--preset", "small")
    grokpack("reshard", str(work / "source"), "--tp", "8", "-o", str(work / "threads"))
    wanted = contents(work / "threads")
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    failed = False
    for example, command in COMMANDS.items():
        out = work / example.removesuffix(".py")
        done = subprocess.run(
            [*command, str(ROOT / "examples" / example), str(work / "source"), str(out)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        processes = re.search(r"by (\d+) (?:processes|ranks)", done.stdout)
        count = int(processes[1]) if processes else done.stdout.count(" tasks")
        same = done.returncode == 0 and contents(out) == wanted
        well = same and count >= 2  # two of them worked
        failed |= not well
        print(
            f"{'ok' if well else 'FAILED'}  {example}: {count} processes, "
            f"{'the same bytes' if same else 'OTHER BYTES'}"
        )
        if not well:
            print(done.stdout, done.stderr, sep="\n")
        shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(work)
    sys.exit(failed)


if __name__ == "__main__":
    main()
