"""Digest algorithms that published lists of checksums use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokpack.storage.hashing import Digest


@dataclass(frozen=True, slots=True)
class ExpectedDigest:
    """Expected digest of a file.

    Attributes:
        kind: `sha256`, or `git`: the sha1 that git names a blob by.
        value: The digest in hex.
        nbytes: The file's size; None if unknown.
    """

    kind: str
    value: str
    nbytes: int | None = None

    def digest(self, nbytes: int) -> Digest:
        """Return a hash object for a file of so many bytes."""
        if self.kind == "sha256":
            return hashlib.sha256()
        head = f"blob {nbytes}\0".encode()
        return hashlib.sha1(head, usedforsecurity=False)
