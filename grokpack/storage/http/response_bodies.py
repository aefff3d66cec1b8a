"""Destinations of a response's bytes: memory, or a position in a file."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from grokpack.storage.http.responses import SLICE_BYTES, NotAsAsked, Trouble

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator

    from grokpack.storage.http.request_threads import Request
    from grokpack.storage.http.scratch_file import Scratch


class Body(Protocol):
    """Destination of the bytes of one response."""

    @property
    def nbytes(self) -> int:
        """Number of bytes that it takes."""

    def take(self, request: Request[Any], response: http.client.HTTPResponse) -> None:
        """Read the bytes, and check that the response ends with them.

        Raises:
            Trouble: The response is shorter or longer.
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

    def take(self, request: Request[Any], response: http.client.HTTPResponse) -> None:
        """Read the bytes into the buffer."""
        filled = 0
        while filled < self.nbytes:
            request.check()
            got = response.readinto(self.buffer[filled : filled + SLICE_BYTES])
            if not got:
                raise _broken_off(filled, self.nbytes)
            filled += got
        if not response.isclosed() and response.read(1):
            raise NotAsAsked("the answer is longer than what was asked for")


@dataclass(frozen=True, slots=True)
class InFile:
    """Position in a file.

    The kernel moves the bytes there from the socket, in one copy where a buffer would take two.
    Over TLS, in chunked responses and where the file takes no pipes, they go through memory.

    Attributes:
        file: The file.
        at: Position of the first byte.
        nbytes: Number of bytes.
    """

    file: Scratch
    at: int
    nbytes: int

    def take(self, request: Request[Any], response: http.client.HTTPResponse) -> None:
        """Read the bytes into the file."""
        bare = request.line is not None and not request.line.encrypted
        if self.file.piped and bare and response.length == self.nbytes:
            self._by_pipe(request, response)
        else:
            self._by_memory(request, response)

    def _by_memory(self, request: Request[Any], response: http.client.HTTPResponse) -> None:
        with _lent(self.nbytes) as buffer:
            InMemory(buffer).take(request, response)
            request.check()
            self.file.put(buffer, self.at)

    def _by_pipe(self, request: Request[Any], response: http.client.HTTPResponse) -> None:
        early = response.read(min(len(response.peek()), self.nbytes))  # sent with the headers
        self.file.put(early, self.at)
        done = len(early)
        with self.file.pipe() as pipe:
            while done < self.nbytes:
                request.check()
                got = pipe.draw(response.fileno(), self.nbytes - done)
                if not got:
                    raise _broken_off(done, self.nbytes)
                request.check()
                self.file.pour(pipe, got, self.at + done)
                done += got
        response.length = 0  # its bytes were read: the connection can be reused
        response.read(1)


_spare: list[bytearray] = []


@contextlib.contextmanager
def _lent(nbytes: int) -> Iterator[memoryview]:
    """Lend reused memory for a block: fresh pages would cost as much as the block.

    There are no more buffers than blocks in flight, which the memory budget includes.
    """
    memory = _spare.pop() if _spare else bytearray()
    if len(memory) < nbytes:
        memory = bytearray(nbytes)
    try:
        yield memoryview(memory)[:nbytes]
    finally:
        _spare.append(memory)


def _broken_off(done: int, wanted: int) -> Trouble:
    return Trouble(f"the answer broke off after {done:,} of {wanted:,} bytes")
