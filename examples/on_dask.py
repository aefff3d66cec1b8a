"""Reshard on a Dask cluster: its executor is one of `concurrent.futures` as well.

python examples/on_dask.py [FOLDER] [OUT]

`grokpack reshard --workers dask://HOST:PORT` does the same, and looks at the workers' memory first.
"""

import sys

from distributed import Client, LocalCluster

from grokpack import Limits, execute, open_checkpoint, plan_reshard


def main() -> None:
    """Do it; a spawned worker imports this file, and must not do it again."""
    folder = sys.argv[1] if len(sys.argv) > 1 else "checkpoints/ckpt-0"
    out = sys.argv[2] if len(sys.argv) > 2 else "grok-1-tp8"
    plan = plan_reshard(open_checkpoint(folder), 8)

    # In earnest: SLURMCluster, KubeCluster, or the address of a scheduler that runs already.
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        threads = sum(client.nthreads().values())
        executor = client.get_executor(pure=False)
        outcome = execute(plan, out, Limits(workers=1, width=threads), executor=executor)
    print(f"{outcome.out}: {outcome.written_bytes:,} bytes by {len(outcome.processes)} processes")


if __name__ == "__main__":
    main()
