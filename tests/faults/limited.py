"""Programs run under a watch: how they end, how much memory they take at most, and how long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MEMORY_BYTES = 3 << 30
"""Memory at which a program is killed, so that a failing test does not take the machine with it."""
SECONDS = 120.0

# A small interpreter starts the program: what a process takes at most is counted from the memory
# that its parent held when it was started, and a test runner holds much.
_WATCH = """
import json, os, signal, sys, time
args, output, memory, seconds = json.loads(sys.argv[1])
began = time.monotonic()
actions = [(os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
actions += [(os.POSIX_SPAWN_DUP2, 1, 2)]
child = os.posix_spawnp(args[0], args, os.environ, file_actions=actions, setpgroup=0)
page, peak, ended = os.sysconf("SC_PAGE_SIZE"), 0, 0
while not ended:
    time.sleep(0.01)
    held = 0
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getpgid(int(process)) == child:
                with open(f"/proc/{process}/statm") as statm:
                    held += int(statm.read().split()[1]) * page
        except OSError:
            continue
    peak = max(peak, held)
    if held > memory or time.monotonic() - began > seconds:
        os.killpg(child, signal.SIGKILL)
    ended, status, usage = os.wait4(child, os.WNOHANG)
took = time.monotonic() - began
print(json.dumps([os.waitstatus_to_exitcode(status), max(peak, usage.ru_maxrss * 1024), took]))
"""


class Outcome(NamedTuple):
    """How a program ended.

    Attributes:
        status: Exit status; negative the signal that ended it, -9 where it passed a limit.
        peak_bytes: Resident memory at its highest, of all its processes together.
        seconds: Elapsed time.
    """

    status: int
    peak_bytes: int
    seconds: float


def run_limited(
    args: Sequence[str | Path],
    output: Path | None = None,
    *,
    memory_bytes: int = MEMORY_BYTES,
    seconds: float = SECONDS,
) -> Outcome:
    """Run a program, and kill it with its children where it passes a limit.

    Args:
        args: Program and arguments.
        output: Where both its streams are written; nowhere without.
        memory_bytes: Resident memory of all its processes together.
        seconds: Elapsed time.
    """
    stream = os.fspath(output or os.devnull)
    watch = json.dumps([[os.fspath(word) for word in args], stream, memory_bytes, seconds])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _WATCH, watch],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "GROKPACK_PROGRESS": "none", "OPENBLAS_NUM_THREADS": "1"},
    )
    return Outcome(*json.loads(done.stdout))
