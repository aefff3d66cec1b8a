"""Public functions take a path wherever they take a checkpoint, as `open_checkpoint` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import grokpack
from grokpack.evaluation.input_tokens import Inputs
from tests.support.checkpoints import synthesize

if TYPE_CHECKING:
    from collections.abc import Callable

    Source = str | Path | grokpack.Checkpoint

ROUTER = ["decoder_layer_0/router"]
SMALL = grokpack.QuantizeOptions(bits=4, group="32", tokenizer="none")
INPUTS = Inputs((np.arange(8),), np.arange(1, 9))
VERBS: dict[str, Callable[[Source], Any]] = {
    "open": lambda source: grokpack.open(source).geometry,
    "inspect": grokpack.inspect,
    "statistics": lambda source: grokpack.statistics(source, ROUTER),
    "verify_structure": lambda source: repr(grokpack.verify_structure(source)),
    "verify_values": lambda source: repr(grokpack.verify_values(source)),
    "compare": lambda source: grokpack.compare(source, source),
    "plan_reshard": lambda source: grokpack.plan_reshard(source, 2).digest(),
    "plan_convert": lambda source: grokpack.plan_convert(source, "hf").digest(),
    "plan_quantize": lambda source: grokpack.plan_quantize(source, SMALL).digest(),
    "evaluate": lambda source: grokpack.evaluate(source, INPUTS).loss,
    "evaluate_pair": lambda source: grokpack.evaluate_pair(source, source, INPUTS).described(),
    "generate": lambda source: grokpack.generate(source, [np.array([5])], count=1).tokens,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("named") / "model")


@pytest.mark.parametrize("verb", VERBS)
def test_a_path_is_taken_for_the_checkpoint_there(verb: str, model: Path) -> None:
    told = VERBS[verb]
    opened = told(grokpack.open_checkpoint(model))
    assert told(model) == told(str(model)) == opened


def test_tensors_are_extracted_from_a_path(model: Path, tmp_path: Path) -> None:
    written = grokpack.extract(model, ROUTER, tmp_path / "router.npy")
    assert np.load(written["file"]).dtype == np.float32


def test_one_name_needs_no_list(model: Path, tmp_path: Path) -> None:
    written = grokpack.extract(model, ROUTER[0], tmp_path / "router.npy")
    assert np.load(written["file"]).dtype == np.float32
    assert grokpack.statistics(model, ROUTER[0]) == grokpack.statistics(model, ROUTER)
    assert len(grokpack.inspect(model, ROUTER[0])["tensors"]) == 1


def test_token_ids_are_evaluated_as_they_are(model: Path) -> None:
    """The last has no successor, and an array of one dimension is one sequence."""
    ids = np.arange(16, dtype=np.uint16)
    first = Inputs((np.arange(16),), np.append(np.arange(1, 16), -1))
    assert grokpack.evaluate(model, ids).loss == grokpack.evaluate(model, first).loss
    assert np.isfinite(grokpack.evaluate(model, ids.reshape(2, 8)).losses).sum() == 14
    assert grokpack.evaluate_pair(model, model, ids).tokens == 16
    told = [grokpack.generate(model, prompts, 2).tokens for prompts in (ids, [ids], ids[None])]
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("wrong", ["some text", np.ones(4), np.ones((1, 2, 3), int), [], None])
def test_what_are_no_tokens_is_told_with_what_to_give(wrong: Any, model: Path) -> None:
    with pytest.raises(grokpack.GrokpackError, match=r"(?s)GP342.*(integer|no tokens)"):
        grokpack.evaluate(model, wrong)
    with pytest.raises(grokpack.GrokpackError, match="GP342"):
        grokpack.generate(model, [wrong], 1)


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="'opne'; did you mean 'open'"):
        _ = grokpack.opne
    with pytest.raises(AttributeError, match=r"no attribute .xyzzy.$"):
        _ = grokpack.xyzzy


def test_a_path_without_a_checkpoint_is_told_as_everywhere(tmp_path: Path) -> None:
    with pytest.raises(grokpack.GrokpackError, match="GP201"):
        grokpack.plan_reshard(tmp_path / "nothing", 2)
