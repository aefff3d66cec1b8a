"""The tokenizer of a release that has one beside its weights goes into every folder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.checkpoint.tokenizer_files import names, tokenizer_files
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.models.family import Model
from grokpack.models.grok2 import GROK2
from tests.support.byte_pair_tokenizers import RELEASE
from tests.support.checkpoints import GOLDEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def release() -> Checkpoint:
    return open_checkpoint(str(RELEASE))


@pytest.fixture(scope="module")
def grok1() -> Checkpoint:
    return open_checkpoint(GOLDEN)


def tokenizer_in(finals: Mapping[str, bytes], source: Checkpoint) -> dict[str, bytes]:
    return {name: finals[name] for name in names(source.model.family) if name in finals}


@pytest.mark.parametrize("to", ["sglang", "safetensors"])
def test_it_goes_into_folders_of_another_width(release: Checkpoint, to: str) -> None:
    finals = plan_reshard(release, 4, to).target.finals
    assert tokenizer_in(finals, release) == tokenizer_files(release, None)


@pytest.mark.parametrize("to", ["hf", "sglang", "safetensors", "zarr", "orbax"])
def test_it_goes_into_every_converted_folder(release: Checkpoint, to: str) -> None:
    finals = plan_convert(release, to).target.finals
    assert tokenizer_in(finals, release) == tokenizer_files(release, None)


@pytest.mark.parametrize(
    "options",
    [
        QuantizeOptions(to="compressed-tensors", group="32"),
        QuantizeOptions(to="gptq", group="32"),
        QuantizeOptions(to="safetensors", group="32"),
        QuantizeOptions(to="w8a8-int8", bits=8, tp=1),
    ],
    ids=lambda options: options.to,
)
def test_it_goes_into_every_quantized_folder(release: Checkpoint, options: QuantizeOptions) -> None:
    finals = plan_quantize(release, options).target.finals
    assert tokenizer_in(finals, release) == tokenizer_files(release, None)


def test_a_file_and_a_view_have_none_and_a_copy_has_the_release_s_own(release: Checkpoint) -> None:
    one = plan_convert(release, "gguf", ConvertOptions(type="bf16")).target
    assert tokenizer_in(one.finals, release) == {}
    copied = plan_convert(release, "archive").target
    assert list(tokenizer_in(copied.finals, release)) == ["tokenizer.tok.json"]


def test_none_is_none(release: Checkpoint) -> None:
    finals = plan_convert(release, "hf", ConvertOptions(tokenizer="none")).target.finals
    assert tokenizer_in(finals, release) == {}


def test_a_tokenizer_that_is_published_elsewhere_goes_into_engines_folders_only(
    release: Checkpoint,
) -> None:
    family = replace(GROK2, tokenizer=replace(GROK2.tokenizer, released=False))
    source = replace(release, model=Model(family, release.geometry))
    assert tokenizer_in(plan_convert(source, "zarr").target.finals, source) == {}
    assert "tokenizer.json" in plan_convert(source, "hf").target.finals


@pytest.mark.parametrize("options", [ConvertOptions(), ConvertOptions(dtype="bf16")])
@pytest.mark.parametrize("to", ["hf", "zarr"])
def test_an_entry_of_the_config_that_no_output_has_is_named(
    grok1: Checkpoint, to: str, options: ConvertOptions
) -> None:
    foreign = {"rope_scaling": {"factor": 4.0}, "sliding_window": None, "a\nb": 1, "dtype": "x"}
    told = plan_convert(replace(grok1, config=foreign), to, options).target.notes
    (lost,) = [note for note in told if "left out" in note]
    assert lost.endswith(" that are not known here are left out: 'rope_scaling', 'a\\nb'")
    known = replace(grok1, config={"dtype": "x", "rms_norm_eps": 1e-5, "rope_scaling": None})
    assert not any("left out" in note for note in plan_convert(known, to, options).target.notes)


def test_many_lost_entries_are_counted(grok1: Checkpoint) -> None:
    source = replace(grok1, config={f"key{number}": 1 for number in range(9)})
    told = plan_reshard(source, 2).target.notes
    assert any(note.endswith("'key3', 'key4' and 4 more") for note in told)


def test_a_release_that_keeps_its_config_loses_nothing(release: Checkpoint) -> None:
    source = replace(release, config=dict(release.config) | {"rope_scaling": {"factor": 4.0}})
    assert not any("left out" in note for note in plan_convert(source, "hf").target.notes)
