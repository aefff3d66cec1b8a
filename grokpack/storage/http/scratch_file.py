"""A nameless file for what is put aside, filled from memory or by the kernel alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import tempfile
import weakref
from typing import TYPE_CHECKING

from grokpack.storage.fault_injection import writing
from grokpack.storage.http import connections

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIPE_BYTES = 1 << 20  # what Linux grants everybody


class Pipe:
    """Pages on their way from a socket to a file; no program ever sees what they hold."""

    def __init__(self) -> None:
        self._out, self._into = os.pipe()
        self._closing = weakref.finalize(self, _close, self._out, self._into)
        with contextlib.suppress(OSError):  # who has many pipes gets small ones
            fcntl.fcntl(self._into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def close(self) -> None:
        """Drop what is in it."""
        self._closing()

    def draw(self, handle: int, most: int) -> int:
        """Take in what a socket has, which may not block; wait where it has nothing.

        Returns:
            How many bytes that was: 0 at their end.

        Raises:
            TimeoutError: Where nothing comes for as long as a connection may be silent.
        """
        while True:
            try:
                return os.splice(handle, self._into, most)
            except BlockingIOError:
                poll = select.poll()
                poll.register(handle, select.POLLIN)
                if not poll.poll(connections.SILENCE_S * 1000):
                    raise TimeoutError from None

    def pour(self, nbytes: int, handle: int, at: int) -> None:
        """Let out so many bytes, into a file at a place."""
        poured = 0
        while poured < nbytes:
            poured += os.splice(self._out, handle, nbytes - poured, offset_dst=at + poured)


class Scratch:
    """A nameless file: a crash leaves nothing of it. For many threads.

    Attributes:
        handle: Its descriptor.
        piped: Whether pipes can be poured into it; they can on Linux, on most file systems.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        with writing("scratch", folder), tempfile.TemporaryFile(dir=folder) as file:
            self.handle = os.dup(file.fileno())
        weakref.finalize(self, _close, self.handle)
        self._pipes: list[Pipe] = []
        self.piped = self._takes_pipes()

    def close(self) -> None:
        """Give the disk back.

        The descriptor stays until nobody has this any more: a request that was called off may
        still write for a moment, and must not write to what got the same number.
        """
        os.ftruncate(self.handle, 0)

    def put(self, block: memoryview | bytes, at: int) -> None:
        """Write bytes at a place."""
        with writing("scratch", self._folder):
            written = 0
            while written < len(block):
                written += os.pwrite(self.handle, block[written:], at + written)

    def pour(self, pipe: Pipe, nbytes: int, at: int) -> None:
        """Write what a pipe holds at a place."""
        with writing("scratch", self._folder):
            pipe.pour(nbytes, self.handle, at)

    @contextlib.contextmanager
    def pipe(self) -> Iterator[Pipe]:
        """An empty pipe, used again if it is empty afterwards."""
        try:
            pipe = self._pipes.pop()
        except IndexError:
            pipe = Pipe()
        try:
            yield pipe
        except BaseException:
            pipe.close()
            raise
        self._pipes.append(pipe)

    def _takes_pipes(self) -> bool:
        """Try it with a byte, from a socket to the beginning of the file."""
        if not hasattr(os, "splice"):
            return False
        near, far = socket.socketpair()
        with near, far:
            try:
                far.send(b"\0")
                with self.pipe() as pipe:
                    pipe.pour(pipe.draw(near.fileno(), 1), self.handle, 0)
            except OSError:
                return False
        return True


def _close(*handles: int) -> None:
    for handle in handles:
        os.close(handle)
