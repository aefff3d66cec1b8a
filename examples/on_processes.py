"""Reshard with processes in place of threads: any `concurrent.futures.Executor` will do.

python examples/on_processes.py [FOLDER] [OUT]
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from grokpack import Limits, execute, open_checkpoint, plan_reshard


def main() -> None:
    """Do it; a spawned process imports this file, and must not do it again."""
    folder = sys.argv[1] if len(sys.argv) > 1 else "checkpoints/ckpt-0"
    out = sys.argv[2] if len(sys.argv) > 2 else "grok-1-tp8"

    # A process has one thread here, and 512 MiB of its own; `width` is how many there are.
    plan, limits = plan_reshard(open_checkpoint(folder), 8), Limits(workers=1, width=2)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as processes:
        outcome = execute(plan, out, limits, executor=processes)
    print(f"{outcome.out}: {outcome.written_bytes:,} bytes in {outcome.seconds:.1f} s")
    for process, tasks in outcome.processes.items():
        print(f"  {process}: {tasks} tasks")


if __name__ == "__main__":
    main()
