"""Progress of a long read, as the caller that watches it sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.core.events import Advanced

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.core.events import Listener


@dataclass(frozen=True, slots=True)
class Watch:
    """What work tells whoever gave it, and asks him, while it is under way.

    Attributes:
        advanced: Told the bytes of each step.
        stopping: Asked between steps: whether to end early.
    """

    advanced: Callable[[int], None]
    stopping: Callable[[], bool] = bool


def watching(listen: Listener, stopping: Callable[[], bool] = bool) -> Watch:
    """A watch that tells a listener."""
    return Watch(lambda nbytes: listen(Advanced(nbytes)), stopping)
