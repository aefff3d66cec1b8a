"""Where the bytes of an answer go: into memory, or to a place in a file."""

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
    """Takes the bytes of one answer."""

    @property
    def nbytes(self) -> int:
        """How many it takes."""

    def take(self, flight: Request[Any], response: http.client.HTTPResponse) -> None:
        """Take them, and see that the answer ends with them.

        Raises:
            Trouble: Where it is shorter or longer.
            OSError: Where the connection fails.
        """


@dataclass(frozen=True, slots=True)
class InMemory:
    """Bytes that go into a buffer."""

    buffer: memoryview

    @property
    def nbytes(self) -> int:
        """See `Body`."""
        return len(self.buffer)

    def take(self, flight: Request[Any], response: http.client.HTTPResponse) -> None:
        """See `Body`."""
        filled = 0
        while filled < self.nbytes:
            flight.check()
            got = response.readinto(self.buffer[filled : filled + SLICE_BYTES])
            if not got:
                raise _broken_off(filled, self.nbytes)
            filled += got
        if not response.isclosed() and response.read(1):
            raise NotAsAsked("the answer is longer than what was asked for")


@dataclass(frozen=True, slots=True)
class InFile:
    """Bytes that go to a place in a file.

    The kernel moves them there from the socket, in one copy where a buffer would take two; from
    TLS, from an answer in chunks and where the file takes no pipes, they go by memory.

    Attributes:
        file: Where they go.
        at: The place of the first.
        nbytes: How many.
    """

    file: Scratch
    at: int
    nbytes: int

    def take(self, flight: Request[Any], response: http.client.HTTPResponse) -> None:
        """See `Body`."""
        bare = flight.line is not None and not flight.line.encrypted
        if self.file.piped and bare and response.length == self.nbytes:
            self._by_pipe(flight, response)
        else:
            self._by_memory(flight, response)

    def _by_memory(self, flight: Request[Any], response: http.client.HTTPResponse) -> None:
        with _lent(self.nbytes) as buffer:
            InMemory(buffer).take(flight, response)
            flight.check()
            self.file.put(buffer, self.at)

    def _by_pipe(self, flight: Request[Any], response: http.client.HTTPResponse) -> None:
        early = response.read(min(len(response.peek()), self.nbytes))  # came with the headers
        self.file.put(early, self.at)
        done = len(early)
        with self.file.pipe() as pipe:
            while done < self.nbytes:
                flight.check()
                got = pipe.draw(response.fileno(), self.nbytes - done)
                if not got:
                    raise _broken_off(done, self.nbytes)
                flight.check()
                self.file.pour(pipe, got, self.at + done)
                done += got
        response.length = 0  # it does not know; once it does, the connection may be used again
        response.read(1)


_spare: list[bytearray] = []


@contextlib.contextmanager
def _lent(nbytes: int) -> Iterator[memoryview]:
    """Memory for a block, used over and over: fresh pages would cost as much as the block.

    There are no more of them than blocks in flight, which the budget has.
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
