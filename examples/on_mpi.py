"""Reshard on the ranks of an MPI job, by the executor that mpi4py brings.

mpiexec -n 5 python examples/on_mpi.py [FOLDER] [OUT]

One rank hands out the tasks, the others do them.
"""

import sys

from mpi4py import MPI
from mpi4py.futures import MPICommExecutor

from grokpack import Limits, execute, open_checkpoint, plan_reshard

folder = sys.argv[1] if len(sys.argv) > 1 else "checkpoints/ckpt-0"
out = sys.argv[2] if len(sys.argv) > 2 else "grok-1-tp8"

with MPICommExecutor(MPI.COMM_WORLD) as ranks:
    if ranks is not None:  # on the rank that hands out
        width = max(1, MPI.COMM_WORLD.size - 1)
        plan, limits = plan_reshard(open_checkpoint(folder), 8), Limits(workers=1, width=width)
        outcome = execute(plan, out, limits, executor=ranks)
        print(f"{outcome.out}: {outcome.written_bytes:,} bytes by {len(outcome.processes)} ranks")
