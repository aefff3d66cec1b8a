"""Progress and cancellation of long work, as its caller sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.events import Advanced

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.core.events import Listener


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
