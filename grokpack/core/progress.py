"""Progress and cancellation of long work, as its caller sees them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.events import Advanced, Finished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.core.events import Listener, Started


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks between long work and its caller.

    Attributes:
        advanced: Called with the bytes of each step.
        stopping: Called between steps; true to end early.
    """

    advanced: Callable[[int], None]
    stopping: Callable[[], bool] = bool


def watching(listen: Listener, stopping: Callable[[], bool] = bool) -> Watch:
    """Return a watch that sends the progress to a listener."""
    return Watch(lambda nbytes: listen(Advanced(nbytes)), stopping)


@contextmanager
def phase(begin: Started, listen: Listener) -> Iterator[None]:
    """Tell a listener that work begins, and after the block, unless it failed, that it ended."""
    listen(begin)
    began = time.monotonic()
    yield
    listen(Finished(begin.what, time.monotonic() - began))
