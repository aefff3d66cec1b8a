"""Unnamed scratch file."""

from __future__ import annotations

import os
import tempfile
import weakref

from grokpack.storage.fault_injection import writing


class ScratchFile:
    """Thread-safe unnamed file, of which a crash leaves nothing.

    Attributes:
        handle: Its descriptor.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        with writing("scratch", folder), tempfile.TemporaryFile(dir=folder) as file:
            self.handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.handle)

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
