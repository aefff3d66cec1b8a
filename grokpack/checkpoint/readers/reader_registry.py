"""Every reader, in the order in which they are asked whether a folder is theirs.

A reader is a module. It is imported when its turn comes: those after the one that knows a folder
are not even loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.checkpoint import Survey

READERS = {
    "virtual_store_reader": "views",
    "ckpt0_reader": "`tensorNNNNN_000` files",
    "tp_safetensors_reader": "`rank-NNN-of-NNN` folders",
    "huggingface_reader": "safetensors",
    "gguf_reader": "GGUF",
    "orbax_reader": "Orbax",
    "zarr_reader": "zarr",
}
"""Modules, and by what people know their folders."""


class Reader(Protocol):
    """A module that reads one kind of folder."""

    def is_store(self, folder: str) -> bool:
        """Return whether a folder is of this kind."""

    def survey(self, folder: str, head_dim: int | None = None) -> Survey:
        """Read every header of it."""


def readers() -> Iterator[Reader]:
    """Yield the readers in their order, each imported when it is asked for."""
    for name in READERS:
        reader: Reader = importlib.import_module(f"grokpack.checkpoint.readers.{name}")
        yield reader


def in_words() -> str:
    """List the folders that are known, for a refusal."""
    *most, last = READERS.values()
    return f"{', '.join(most)} or {last}"
