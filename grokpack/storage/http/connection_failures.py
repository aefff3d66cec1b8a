"""Failures of connections, described in a few words each."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, TypeVar

from urllib3.exceptions import ConnectTimeoutError, IncompleteRead, InvalidHeader, ReadTimeoutError

from grokpack.storage.http import connections
from grokpack.storage.http.responses import NotAsAsked, Trouble, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

E = TypeVar("E", bound=BaseException)


def failed_attempt(error: Exception) -> Trouble:
    """Return the trouble with a connection; `NotAsAsked` for a response that is not HTTP."""
    causes = [*_causes(error)]
    if _first(causes, ConnectTimeoutError):
        return Trouble(f"no connection within {connections.CONNECT_S:.0f} s")
    if _first(causes, ReadTimeoutError) or _first(causes, TimeoutError):
        return Trouble(f"nothing came for {connections.SILENCE_S:.0f} s")
    cut = _first(causes, IncompleteRead)
    if cut is not None:
        return broken_off(cut.partial, cut.partial + cut.expected)
    if _first(causes, http.client.IncompleteRead):  # in the midst of a chunk
        return Trouble("the answer broke off")
    system = _first(causes, OSError)  # `RemoteDisconnected` is one, too
    if system is not None:
        return Trouble(plain(system.strerror or str(system)))
    not_http = _first(causes, http.client.HTTPException) or _first(causes, InvalidHeader)
    if not_http is not None:
        words = plain(str(not_http) or type(not_http).__name__)
        return NotAsAsked(f"the answer is no HTTP: {words}")
    return Trouble(plain(str(error) or type(error).__name__))


def broken_off(done: int, wanted: int) -> Trouble:
    """Return the trouble with a response that ended before its end."""
    return Trouble(f"the answer broke off after {done:,} of {wanted:,} bytes")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that an error of urllib3 wraps, innermost first, and then itself."""
    inner = next((part for part in error.args[::-1] if isinstance(part, Exception)), None)
    cause = inner or error.__cause__
    if cause is not None:
        yield from _causes(cause)
    yield error


def _first(causes: Sequence[BaseException], kind: type[E]) -> E | None:
    return next((cause for cause in causes if isinstance(cause, kind)), None)
