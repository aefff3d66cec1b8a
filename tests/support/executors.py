"""Executors of other processes, and some that fail in their own way."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from grokpack.core.events import Advanced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.core.events import Event, Listener
    from grokpack.execution.run_options import RunOptions


def stop_after(limits: RunOptions, steps: int) -> Listener:
    """A listener that stops the run once it was told of so many steps."""
    left = [steps]

    def listen(event: Event) -> None:
        left[0] -= isinstance(event, Advanced)
        if left[0] == 0:
            limits.stop.set()

    return listen


class Alternating(Executor):
    """Gives its tasks to several executors in turn, so that each of them has some."""

    def __init__(self, *executors: Executor) -> None:
        self.executors, self.given = executors, 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.given += 1
        return self.executors[self.given % len(self.executors)].submit(fn, *args, **kwargs)


class Forgetful(Executor):
    """Gives up every task so many times before it does it, here and now."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.seen: dict[str, int] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        key = repr(args[1])
        self.seen[key] = self.seen.get(key, 0) + 1
        if self.seen[key] <= self.times:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_result(fn(*args, **kwargs))
        return future


class Closed(Executor):
    """Takes no task."""

    def submit(self, *_args: Any, **_kwargs: Any) -> Future[Any]:
        raise RuntimeError("cannot schedule new futures after shutdown")


@contextmanager
def processes(method: str = "spawn", count: int = 2) -> Iterator[Alternating]:
    """So many processes, each of which has some of the tasks."""
    context = multiprocessing.get_context(method)
    pools = [ProcessPoolExecutor(1, mp_context=context) for _ in range(count)]
    try:
        yield Alternating(*pools)
    finally:
        for pool in pools:
            pool.shutdown()
