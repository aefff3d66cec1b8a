"""Destinations of a response's bytes: memory, or a position in a file."""

from __future__ import annotations

import contextlib
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from grokpack.storage.http.connection_failures import broken_off
from grokpack.storage.http.connections import receive_into
from grokpack.storage.http.responses import UnexpectedResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import urllib3

    from grokpack.storage.http.request_threads import Request
    from grokpack.storage.http.scratch_file import ScratchFile


class Body(Protocol):
    """Destination of the bytes of one response."""

    @property
    def nbytes(self) -> int:
        """Number of bytes that it takes."""

    def take(self, request: Request[Any], response: urllib3.BaseHTTPResponse) -> None:
        """Read the bytes, and check that the response ends with them.

        Raises:
            RetryableFailure: The response is shorter or longer.
            OSError: The connection fails.
        """


@dataclass(frozen=True, slots=True)
class InMemory:
    """Buffer in memory."""

    buffer: memoryview

    @property
    def nbytes(self) -> int:
        """Number of bytes that it takes."""
        return len(self.buffer)

    def take(self, request: Request[Any], response: urllib3.BaseHTTPResponse) -> None:
        """Read the bytes into the buffer."""
        _receive(request, response, self.buffer)
        _check_end(response)


@dataclass(frozen=True, slots=True)
class InFile:
    """Places in a file, which are filled one after the other.

    Attributes:
        file: The file.
        places: Position and number of bytes of each.
    """

    file: ScratchFile
    places: Sequence[tuple[int, int]]

    @property
    def nbytes(self) -> int:
        """Number of bytes that they take."""
        return sum(nbytes for _, nbytes in self.places)

    def take(self, request: Request[Any], response: urllib3.BaseHTTPResponse) -> None:
        """Read the bytes into the file, through memory."""
        for at, nbytes in self.places:
            with _lent(nbytes) as buffer:
                _receive(request, response, buffer)
                request.check()
                self.file.put(buffer, at)
        _check_end(response)


def _receive(request: Request[Any], response: urllib3.BaseHTTPResponse, buffer: memoryview) -> None:
    """Fill a buffer with the next bytes of a response."""
    filled = 0
    while filled < len(buffer):
        request.check()
        got = receive_into(response, buffer[filled:])
        if not got:
            raise broken_off(filled, len(buffer))
        filled += got


def _check_end(response: urllib3.BaseHTTPResponse) -> None:
    """Check that a response has no further bytes, where its length does not tell."""
    if response.length_remaining != 0 and response.read(1):
        raise UnexpectedResponse("the answer is longer than what was asked for")


_spare: list[mmap.mmap] = []


@contextlib.contextmanager
def _lent(nbytes: int) -> Iterator[memoryview]:
    """Lend reused memory for a block: fresh pages would cost as much as the block.

    There are no more buffers than blocks in flight, which the memory budget includes. They begin
    with a page as blocks do in a server's memory: an AMD processor copies a byte at a time to a
    place a little further in its page than where the bytes come from.
    """
    memory = _spare.pop() if _spare else mmap.mmap(-1, nbytes)
    if len(memory) < nbytes:
        memory = mmap.mmap(-1, nbytes)
    try:
        yield memoryview(memory)[:nbytes]
    finally:
        _spare.append(memory)
