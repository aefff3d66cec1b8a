"""Entry point of `grokpack` and `python -m grokpack`, which handles signals before all else."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys

TYPE_CHECKING = False  # `typing` takes longer to import than all else before signals are handled

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


_MORE_OBJECTS = 50_000
"""New objects after which unreachable ones are looked for: plans make many, and lose few."""
_TOOLS = 6  # that `sys.monitoring` has numbers for


def _leave(number: int, _frame: FrameType | None) -> None:
    """End at once, without a word: nothing has begun, or everything is done."""
    os._exit(128 + number)


def main() -> None:
    """Run the command line; until it has begun its work, Ctrl-C and SIGTERM end it quietly."""
    gc.set_threshold(_MORE_OBJECTS)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from grokpack.cli import streams

    guarded = streams.guard()
    from grokpack.cli.app import main as run

    _end(guarded.status(run()))


def _end(status: int) -> NoReturn:
    """End the process, and leave its memory to the system.

    Python would free each object and unload each library, which takes it 0.05 s, with compiled
    kernels 0.13. A profiler or debugger reports at the end, and is left to.
    """
    if _is_watched():
        sys.exit(status)
    atexit._run_exitfuncs()  # noqa: SLF001  # there is no public name
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _is_watched() -> bool:
    """Return whether a profiler or debugger runs the program, in any of the ways that they have."""
    if sys.getprofile() or sys.gettrace():
        return True
    tools = getattr(sys, "monitoring", None)  # since Python 3.12
    return tools is not None and any(tools.get_tool(number) for number in range(_TOOLS))


if __name__ == "__main__":
    main()
