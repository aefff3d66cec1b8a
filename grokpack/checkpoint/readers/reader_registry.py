"""Registry of readers, in the order in which they are asked whether a folder is theirs.

Each declares the rest in its module, which is imported when its turn comes: those after the one
that knows a folder are not even loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.readers.reader_row import Reader

READERS = {
    "view": "virtual_store_reader",
    "ckpt-0": "ckpt0_reader",
    "safetensors": "tp_safetensors_reader",
    "hf": "huggingface_reader",
    "gguf": "gguf_reader",
    "orbax": "orbax_reader",
    "zarr": "zarr_reader",
}
"""Modules by the name of their format."""


def reader(name: str) -> Reader:
    """Import the reader of a format; `name` is one of `READERS`."""
    own: Reader = importlib.import_module(f"grokpack.checkpoint.readers.{READERS[name]}").READER
    return own


def readers() -> Iterator[Reader]:
    """Yield the readers in their order, each imported when it is asked for."""
    return map(reader, READERS)


def in_words() -> str:
    """List the folders that are known, for a refusal."""
    *most, last = (own.title for own in readers())
    return f"{', '.join(most)} or {last}"
