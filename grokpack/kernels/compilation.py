"""Events about the compilation of kernels, which delays work by seconds."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from grokpack.core.events import Compiled, Compiling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.events import Listener
    from grokpack.kernels.dispatch import Implementation


@contextmanager
def telling_of_compilation(implementation: Implementation, listen: Listener) -> Iterator[None]:
    """Tell a listener, while the block runs, when kernels are compiled and how long that took.

    One that numba loads from its cache is not compiled.
    """
    if implementation == "numpy":
        yield
        return
    from numba.core import event

    events: Any = event  # parts of numba have no types

    class Teller(event.Listener):
        """Teller of the outermost compilation: what a function calls is compiled within it.

        numba compiles in one thread at a time.
        """

        depth, began = 0, 0.0

        def on_start(self, _event: object) -> None:
            if not self.depth:
                self.began = time.monotonic()
                listen(Compiling())
            self.depth += 1

        def on_end(self, _event: object) -> None:
            self.depth -= 1
            if not self.depth:
                listen(Compiled(time.monotonic() - self.began))

    teller = Teller()
    events.register("numba:compile", teller)
    try:
        yield
    finally:
        events.unregister("numba:compile", teller)
