"""Reshard on a Ray cluster, by an adapter of a few lines: Ray's futures are Python's.

python examples/on_ray.py [FOLDER] [OUT]
"""

import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import ray

from grokpack import Limits, execute, open_checkpoint, plan_reshard


class RayExecutor(Executor):
    """Gives each call to a Ray task, which runs again where its worker dies."""

    def submit(self, fn: Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """See `concurrent.futures.Executor`."""
        future: Future[Any] = ray.remote(max_retries=3)(fn).remote(*args, **kwargs).future()
        return future


folder = sys.argv[1] if len(sys.argv) > 1 else "checkpoints/ckpt-0"
out = sys.argv[2] if len(sys.argv) > 2 else "grok-1-tp8"

ray.init(log_to_driver=False)
plan, cores = plan_reshard(open_checkpoint(folder), 8), int(ray.cluster_resources()["CPU"])
outcome = execute(plan, out, Limits(workers=1, width=cores), executor=RayExecutor())
print(f"{outcome.out}: {outcome.written_bytes:,} bytes by {len(outcome.processes)} processes")
ray.shutdown()
