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
    from collections.abc import Iterator

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
        filled = 0
        while filled < self.nbytes:
            request.check()
            got = receive_into(response, self.buffer[filled:])
            if not got:
                raise broken_off(filled, self.nbytes)
            filled += got
        if response.read(1):
            raise UnexpectedResponse("the answer is longer than what was asked for")


@dataclass(frozen=True, slots=True)
class InFile:
    """Position in a file.

    Attributes:
        file: The file.
        at: Position of the first byte.
        nbytes: Number of bytes.
    """

    file: ScratchFile
    at: int
    nbytes: int

    def take(self, request: Request[Any], response: urllib3.BaseHTTPResponse) -> None:
        """Read the bytes into the file, through memory."""
        with _lent(self.nbytes) as buffer:
            InMemory(buffer).take(request, response)
            request.check()
            self.file.put(buffer, self.at)


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
