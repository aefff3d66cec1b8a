"""A Dask cluster as an executor, whose workers are checked before the first task.

Dask itself runs the tasks of a killed worker again. When the scheduler is restarted, everything
under way is lost, and `map_unordered` sends it again.
"""

from __future__ import annotations

import contextlib
import logging
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from grokpack.core.errors import GrokpackError, Place, revised
from grokpack.core.optional_imports import import_extra
from grokpack.core.version import __version__
from grokpack.execution.workers import jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.execution.workers.jobs import Job

T = TypeVar("T")

SCHEME = "dask://"
_CONNECT_S = 15
_FIRST_WORKER_S = 60  # a cluster that is just starting
_PAUSES_AT = (
    0.8  # share of its memory limit at which a worker takes no more tasks, by Dask's defaults
)
_EXTRA = "dask"


@dataclass(frozen=True, slots=True)
class Worker:
    """Worker process, as the scheduler knows it.

    Attributes:
        address: Address of the process.
        threads: Tasks that it does at a time.
        memory_bytes: Memory that it may take; None for no limit.
    """

    address: str
    threads: int
    memory_bytes: int | None


class Cluster(Executor):
    """Executor over the workers of a cluster.

    Attributes:
        workers: Workers that were there at the beginning.

    Args:
        client: A `distributed.Client`; left open.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401  # distributed has no types
        self._client = client
        self._executor: Executor = client.get_executor(pure=False, retries=2)
        rows = client.scheduler_info(n_workers=-1)["workers"]
        self.workers = tuple(
            Worker(address, row["nthreads"], row["memory_limit"] or None)
            for address, row in rows.items()
        )

    @property
    def width(self) -> int:
        """Number of tasks that all workers do at a time."""
        return sum(worker.threads for worker in self.workers)

    @property
    def threads(self) -> int:
        """Number of threads of the worker that has most."""
        return max(worker.threads for worker in self.workers)

    @property
    def memory_bytes(self) -> int | None:
        """Memory that a task may use in every worker before Dask pauses it; None for no limit."""
        limits = [w.memory_bytes for w in self.workers if w.memory_bytes is not None]
        return int(_PAUSES_AT * min(limits)) if limits else None

    def check_versions(self) -> None:
        """Refuse a cluster in which a worker has another version of grokpack.

        Raises:
            GrokpackError: GP409 where one has not.
        """
        for address, version in self._ask(jobs.version):
            if isinstance(version, ImportError):
                hint = f"pip install 'grokpack[dask]=={__version__}' where the workers run"
                what = "a worker has no grokpack"
                raise GrokpackError("GP409", what, Place(address), hint=hint) from version
            if version != __version__:
                what = f"a worker has grokpack {version}, this is {__version__}"
                hint = "the same version everywhere makes the same bytes"
                raise GrokpackError("GP409", what, Place(address), hint=hint)

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
        """Ask each worker; return answers and errors, without those that die meanwhile."""
        answers = self._client.run(question, *arguments, on_error="return")
        for address, answer in answers.items():
            if not isinstance(answer, OSError):  # the connection's; grokpack's own are no OSErrors
                yield address, answer

    def prepare(self, job: Job[Any, Any]) -> None:
        """Make a job known to all workers, which check whether they have what it needs.

        Raises:
            GrokpackError: The error of a worker that lacks something.
        """
        for address, error in self._ask(jobs.register, job):
            if isinstance(error, GrokpackError):
                facts = (("worker", address), *error.facts)
                raise revised(error, facts=facts)
            if error is not None:
                raise error

    def release(self, job: Job[Any, Any]) -> None:
        """Let all workers remove what the job left with them."""
        with contextlib.suppress(Exception):  # those that are gone have nothing left
            self._client.run(jobs.forget, job.token, on_error="ignore")

    def check(self) -> None:
        """Check that there is a worker, after giving restarted ones time.

        Raises:
            GrokpackError: GP408 where there is none.
        """
        if not self._client.scheduler_info(n_workers=-1)["workers"]:
            hint = "start some, and run the same command again; it continues"
            raise GrokpackError("GP408", "the cluster has no workers left", hint=hint)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:  # noqa: ANN401
        """Submit a call, as `concurrent.futures.Executor` does."""
        return self._executor.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Disconnect; workers and scheduler go on."""
        self._executor.shutdown(wait=wait and not cancel_futures)


def _hush() -> None:
    """Silence the logs of Dask and of the libraries under it: grokpack reports what matters."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def cluster(url: str) -> Iterator[Cluster]:
    """Connect to the cluster of a scheduler while the block runs.

    Args:
        url: `dask://host:8786`, `dask://tls://host:8786`, or `dask://` and the path of a scheduler
            file.

    Raises:
        GrokpackError: GP307 where Dask is not installed, GP410 where no scheduler answers or it has
            no workers, GP409 where one has another version.
    """
    distributed = import_extra("distributed", _EXTRA)
    _hush()
    where = url.removeprefix(SCHEME)
    address = where if "://" in where else f"tcp://{where}"
    place = {"scheduler_file": where} if where.endswith(".json") else {"address": address}
    try:
        client = distributed.Client(
            **place, timeout=_CONNECT_S, set_as_default=False, name="grokpack"
        )
    except (OSError, ValueError) as error:
        what = "no scheduler answers"
        hint = "see that it runs and can be reached: `dask scheduler`"
        facts = (("said", str(error).partition("\n")[0]),)
        raise GrokpackError("GP410", what, Place(url), facts, hint) from error
    with client:
        with contextlib.suppress(TimeoutError):
            client.wait_for_workers(1, timeout=_FIRST_WORKER_S)
        found = Cluster(client)
        if not found.workers:
            hint = "start some: `dask worker HOST:PORT --nthreads 2 --memory-limit 2GB`"
            raise GrokpackError("GP410", "the cluster has no workers", Place(url), (), hint)
        found.check_versions()
        yield found
