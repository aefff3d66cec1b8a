"""Unnamed scratch file, filled from memory or by the kernel alone."""

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

_PIPE_BYTES = 1 << 20  # granted by Linux to everyone


class Pipe:
    """Pipe from a socket to a file, whose pages never enter user space."""

    def __init__(self) -> None:
        self._out, self._into = os.pipe()
        self._closing = weakref.finalize(self, _close, self._out, self._into)
        with contextlib.suppress(OSError):  # a process with many pipes gets small ones
            fcntl.fcntl(self._into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def close(self) -> None:
        """Discard its contents."""
        self._closing()

    def draw(self, handle: int, most: int) -> int:
        """Take in what a non-blocking socket has, waiting until it has something.

        Returns:
            The number of bytes: 0 at the end.

        Raises:
            TimeoutError: Nothing came for as long as a connection may be silent.
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
        """Move so many bytes to a position of a file."""
        poured = 0
        while poured < nbytes:
            poured += os.splice(self._out, handle, nbytes - poured, offset_dst=at + poured)


class Scratch:
    """Thread-safe unnamed file, of which a crash leaves nothing.

    Attributes:
        handle: Its descriptor.
        piped: True if pipes can be moved into it, as on most of Linux's file systems.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        with writing("scratch", folder), tempfile.TemporaryFile(dir=folder) as file:
            self.handle = os.dup(file.fileno())
        weakref.finalize(self, _close, self.handle)
        self._pipes: list[Pipe] = []
        self.piped = self._takes_pipes()

    def close(self) -> None:
        """Free the disk space.

        The descriptor stays open until nothing refers to this object: a cancelled request may still
        write for a moment, and must not write to a file that got the same number.
        """
        os.ftruncate(self.handle, 0)

    def put(self, block: memoryview | bytes, at: int) -> None:
        """Write bytes at a position."""
        with writing("scratch", self._folder):
            written = 0
            while written < len(block):
                written += os.pwrite(self.handle, block[written:], at + written)

    def pour(self, pipe: Pipe, nbytes: int, at: int) -> None:
        """Write a pipe's contents at a position."""
        with writing("scratch", self._folder):
            pipe.pour(nbytes, self.handle, at)

    @contextlib.contextmanager
    def pipe(self) -> Iterator[Pipe]:
        """Lend an empty pipe, which is reused if it is empty afterwards."""
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
        """Try to move a byte from a socket to the beginning of the file."""
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
