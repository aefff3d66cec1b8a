"""Fit of a model on devices, in each format that serves it, with a check against written files."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from grokpack.checkpoint.checkpoint import Checkpoint
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.device_fit import Devices, fit
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.serving_formats import ServingFormat, serving_formats
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Layout
from grokpack.models import registry
from grokpack.models.family import Model
from tests.support import grok2, quantized_checkpoints

if TYPE_CHECKING:
    from grokpack.core.documents.fit_json import DeviceLoadJson, FitJson
    from grokpack.planning.plan import Plan

GB = 10**9
EXPERTS_1, EXPERTS_2 = 309_237_645_312, 8 * 64 * 3 * 8192 * 16384
ATTENTION_1 = 5_637_144_576
TABLE_1, TABLE_2 = 131072 * 6144, 131072 * 8192  # of an embedding or a head
PRECISE_1 = 3_145_728 + 1_579_008  # routers and norms
CACHE = 64 * 2 * 8 * 128 * 2 * 8192  # layers, keys and values, heads, their size, bytes, tokens


@cache
def released(name: str) -> Checkpoint:
    """Return a release of which no byte exists."""
    family = registry.FAMILIES[name]
    model = Model(family, family.release)
    tensors = {tensor.name: tensor for tensor in model.specs()}
    return Checkpoint(name, name, family.release_layout.format, model, tensors, Layout({}, ()))


def on(source: str, count: int, nbytes: int = 80 * GB, **work: int) -> FitJson:
    return fit(released(source), Devices(count, nbytes, **work))


def load(found: FitJson, form: str, program: str, width: int) -> DeviceLoadJson:
    (loads,) = [
        row["loads"]
        for row in found["formats"]
        if (row["format"], row["program"]) == (form, program)
    ]
    return next(one for one in loads if one["width"] == width)


def test_the_release_of_grok_1_in_bfloat16_on_eight_devices() -> None:
    found = on("grok-1", 8)
    one = load(found, "bf16", "SGLang", 8)
    assert one["experts"] == EXPERTS_1 * 2 // 8
    head = embedding = TABLE_1 * 2 // 8  # SGLang keeps both
    assert one["others"] == ATTENTION_1 * 2 // 8 + embedding + head + PRECISE_1 * 4
    assert one["cache"] == CACHE // 8
    assert one["left"] == 72 * GB - one["experts"] - one["others"] - one["cache"]
    assert one["left"] < 0
    assert found["cache_bytes"] == CACHE == 2_147_483_648


def test_keys_and_values_are_cut_by_whole_heads() -> None:
    wide, narrow = (load(on("grok-1", 16), "bf16", "vLLM", width) for width in (16, 8))
    assert wide["cache"] == narrow["cache"] == CACHE // 8
    keys = 64 * 2 * 6144 * 1024 * 2  # bytes of key and value projections
    halved = narrow["others"] - keys // 8 - PRECISE_1 * 4
    assert wide["others"] == halved // 2 + keys // 8 + PRECISE_1 * 4
    batch = on("grok-1", 8, context=1000, batch=3)
    assert load(batch, "bf16", "vLLM", 8)["cache"] == CACHE // 8 * 3000 // 8192


@pytest.mark.parametrize(
    ("source", "form", "program", "gigabytes"),
    [
        ("grok-1", "bf16", "vLLM", 631.37),
        ("grok-1", "bf16", "SGLang", 632.98),
        ("grok-1", "fp8", "SGLang", 318.2),
        ("grok-1", "int4", "vLLM", 163.99),
        ("grok-1", "q8_0", "llama.cpp", 336.2),
        ("grok-1", "as it is", "xAI's JAX code", 318.24),
        ("grok-2", "fp8", "SGLang", 271.7),
        ("grok-2", "q8_0", "llama.cpp", 288.4),
        ("grok-2", "nvfp4", "vLLM", 154.7),
        ("grok-2", "mxfp4", "vLLM", 146.3),
        ("grok-2", "int4", "vLLM", 142.2),
    ],
)
def test_sizes_are_those_that_others_computed(
    source: str, form: str, program: str, gigabytes: float
) -> None:
    rows = on(source, 1)["formats"]
    (row,) = [r for r in rows if (r["format"], r["program"]) == (form, program)]
    assert row["bytes"] / GB == pytest.approx(gigabytes, abs=0.06)


def test_llama_cpp_gives_devices_layers_and_leaves_the_embedding_to_the_host() -> None:
    found = on("grok-1", 8)
    one = load(found, "q8_0", "llama.cpp", 8)
    # the first of eight has nine of 64 layers and a head: 65 / 8 = 8.125
    assert one["experts"] == EXPERTS_1 * 34 // 32 * 9 // 64
    assert one["cache"] == CACHE * 9 // 64
    both = load(found, "bf16", "llama.cpp", 1)
    norms_and_routers = PRECISE_1 * 4
    assert both["others"] == (ATTENTION_1 + TABLE_1) * 2 + norms_and_routers
    untied = load(on("grok-2", 1), "bf16", "llama.cpp", 1)
    dense, attention = 64 * 3 * 8192 * 32768, 64 * (2 * 8192 * 8192 + 2 * 8192 * 1024)
    precise = (64 * (4 * 8192 + 8 * 8192) + 8192) * 4
    assert untied["others"] == (dense + attention + TABLE_2) * 2 + precise
    assert untied["experts"] == EXPERTS_2 * 2


def test_the_best_that_fits_is_what_loses_least() -> None:
    best = {row["program"]: row["command"] for row in on("grok-1", 8)["best"]}
    assert best["SGLang"] == "grokpack quantize grok-1 --bits 8 --to w8a8-int8 --tp 8"
    assert best["vLLM"] == "grokpack quantize grok-1 --bits 8"
    assert best["llama.cpp"] == "grokpack convert grok-1 --to gguf --type q8_0"
    assert best["xAI's JAX code"] is None
    half = {row["program"]: row for row in on("grok-1", 4)["best"]}
    assert "SGLang" not in half  # it serves no Grok-1 in 4 bits
    assert half["vLLM"]["command"] == "grokpack quantize grok-1 --to nvfp4"
    second = {row["program"]: row["command"] for row in on("grok-2", 8)["best"]}
    assert second["SGLang"] == "grokpack convert grok-2 --to sglang --tp 8"
    assert on("grok-1", 1, 8 * GB)["best"] == []


def test_a_width_that_cuts_blocks_is_left_out() -> None:
    small = Model(registry.FAMILIES["grok-1"], quantized_checkpoints.WIDE)
    source = replace(released("grok-1"), model=small)
    (row,) = (form for form in serving_formats(source) if form.name == "fp8")
    assert row.command is not None
    assert [row.command(width) for width in (1, 8)] == ["quantize --to fp8", ""]


def planned(source: Checkpoint, form: ServingFormat) -> Plan:
    """Return the plan that a format's command makes, in one folder that is not cut."""
    assert form.command is not None
    verb, *words = form.command(1).split()
    given: dict[str, Any] = {
        flag.removeprefix("--").replace("-", "_"): int(word) if word.isdecimal() else word
        for flag, word in zip(words[::2], words[1::2], strict=True)
    }
    to = given.pop("to", None)
    given |= {"tokenizer": "none"} if to == "gguf" else {}
    if verb == "convert":
        return plan_convert(source, to, ConvertOptions(**given))
    return plan_quantize(source, QuantizeOptions(to=to, **given))


@pytest.mark.parametrize("family", ["grok-1", "grok-2"])
def test_each_format_has_the_bytes_that_its_writer_lays_out(family: str, wide: Path) -> None:
    source = open_checkpoint(str(wide if family == "grok-1" else grok2.RELEASE))
    written = 0
    for form in serving_formats(source):
        if form.command is None:
            continue
        sizes = {entry.name: form.tensor_bytes(entry) for entry in source.model.tensors()}
        head = sizes[source.model.tensor("embedding").name] if form.copies_head else 0
        arrays = planned(source, form).target.layout.arrays
        stored = sum(array.nbytes for array in arrays.values())
        assert sum(sizes.values()) + head == stored, (form.name, form.program)
        written += 1
    assert written > 8


def test_a_model_without_a_head_size_is_refused() -> None:
    source = released("grok-1")
    unknown = replace(source, model=source.model.sized(head_dim=None))
    with pytest.raises(GrokpackError, match="head is not known"):
        fit(unknown, Devices(8, 80 * GB))
