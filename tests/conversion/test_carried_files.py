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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def release() -> Checkpoint:
    return open_checkpoint(str(RELEASE))


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
