"""The table of writers against what each writer declares of itself."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

from grokpack.conversion import writers
from grokpack.conversion.plan_convert import ConvertOptions
from grokpack.conversion.plan_quantize import QuantizeOptions
from grokpack.conversion.quantization.policy import BITS
from grokpack.conversion.writers import writer_registry
from grokpack.conversion.writers.writer_row import (
    QuantizingWriter,
    ReshardingWriter,
    Writer,
    option_names,
)

ROWS: list[tuple[str, Any, Any]] = [
    *((name, writer_registry.lossless(name), Writer) for name in writer_registry.LOSSLESS),
    *(
        (name, writer_registry.quantizing(name), QuantizingWriter)
        for name in writer_registry.QUANTIZING
    ),
    *(
        (name, writer_registry.resharding(name), ReshardingWriter)
        for name in writer_registry.RESHARDING
    ),
]


@pytest.mark.parametrize(("name", "writer", "kind"), ROWS)
def test_each_writer_goes_by_the_name_that_the_table_has(name: str, writer: Any, kind: Any) -> None:
    assert isinstance(writer, kind)
    assert writer.name == name
    assert writer.title


@pytest.mark.parametrize("name", writer_registry.LOSSLESS)
def test_what_a_writer_can_be_told_convert_can(name: str) -> None:
    assert option_names(writer_registry.lossless(name)) <= set(ConvertOptions.__slots__)


@pytest.mark.parametrize("name", writer_registry.QUANTIZING)
def test_what_a_quantizing_writer_can_be_told_quantize_can(name: str) -> None:
    writer = writer_registry.quantizing(name)
    assert writer.scheme | option_names(writer) <= set(QuantizeOptions.__slots__)
    assert set(writer.bits) <= set(BITS)


def test_every_writer_is_in_the_table() -> None:
    names = [found.name for found in pkgutil.iter_modules(writers.__path__)]
    modules = {name: importlib.import_module(f"{writers.__name__}.{name}") for name in names}
    declared = {name for name, module in modules.items() if hasattr(module, "WRITER")}
    assert declared == {*writer_registry.LOSSLESS.values(), *writer_registry.QUANTIZING.values()}
    cut = {name for name, module in modules.items() if hasattr(module, "RESHARDER")}
    assert cut == set(writer_registry.RESHARDING.values())
