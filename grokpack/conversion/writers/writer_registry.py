"""Registry of writers by the name that `--to` takes; each declares the rest in its module.

A module is imported when its format is requested: importing all takes a tenth of a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.conversion.writers.writer_row import QuantizingWriter, ReshardingWriter, Writer

LOSSLESS = {
    "hf": "huggingface_writer",
    "sglang": "sglang_writer",
    "gguf": "gguf_writer",
    "safetensors": "tp_safetensors_writer",
    "ckpt-0": "ckpt0_writer",
    "zarr": "zarr_writer",
    "orbax": "orbax_writer",
    "archive": "archive_writer",
    "files": "files_writer",
    "view": "virtual_store_writer",
}
"""Modules whose `WRITER` is for `convert`."""

QUANTIZING = {
    "compressed-tensors": "compressed_tensors_writer",
    "gptq": "gptq_writer",
    "mxfp4": "mxfp4_writer",
    "nvfp4": "nvfp4_writer",
    "w8a8-int8": "w8a8_writer",
    "fp8": "fp8_writer",
    "gguf": "gguf_quantized_writer",
    "ckpt-0": "ckpt0_requantized_writer",
    "safetensors": "tp_safetensors_quantized_writer",
}
"""Modules whose `WRITER` is for `quantize`."""

RESHARDING = {
    "safetensors": "tp_safetensors_writer",
    "ckpt-0": "ckpt0_writer",
    "sglang": "sglang_writer",
}
"""Modules whose `RESHARDER` is for `reshard`."""

DEFAULT_RESHARDING = {"ckpt-0": "safetensors", "hf": "sglang"}
"""Default format of another width, by the format of the family's release."""

DEFAULT_QUANTIZING = {4: "compressed-tensors", 8: "gptq"}
"""Default format of a quantized copy, by bits."""


def lossless(name: str) -> Writer[Any]:
    """Import the writer of `convert --to NAME`; `name` is one of `LOSSLESS`."""
    writer: Writer[Any] = _module(LOSSLESS[name]).WRITER
    return writer


def quantizing(name: str) -> QuantizingWriter[Any]:
    """Import the writer of `quantize --to NAME`; `name` is one of `QUANTIZING`."""
    writer: QuantizingWriter[Any] = _module(QUANTIZING[name]).WRITER
    return writer


def resharding(name: str) -> ReshardingWriter:
    """Import the writer of `reshard --to NAME`; `name` is one of `RESHARDING`."""
    writer: ReshardingWriter = _module(RESHARDING[name]).RESHARDER
    return writer


def in_words(names: Iterable[str]) -> str:
    """Join names as in a sentence: `hf, zarr or view`."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _module(name: str) -> Any:  # noqa: ANN401  # a module
    return importlib.import_module(f"grokpack.conversion.writers.{name}")
