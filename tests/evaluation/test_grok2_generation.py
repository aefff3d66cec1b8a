"""Grok-2 continues prompts with what its whole network says, and its inputs can be calibrated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.evaluation.evaluation_options import EvaluateOptions, networks
from grokpack.evaluation.generation import Sampling, choose, generate
from grokpack.evaluation.network.batch import batch
from grokpack.evaluation.network.layer import PassOptions
from tests.report.test_schemas import answer
from tests.support.grok2 import GOLDEN, RELEASE, prompts
from tests.support.reference_network import change_constants, logits

if TYPE_CHECKING:
    from pathlib import Path

CLOSE = 2e-3


def cached_logits(tokens: np.ndarray, first: int) -> np.ndarray:
    """Logits of a prompt's last token and of each token after it, with a key/value cache."""
    steps = [tokens[:first], *(tokens[at : at + 1] for at in range(first, len(tokens)))]
    made = []
    with networks([open_checkpoint(str(RELEASE))], len(tokens), EvaluateOptions()) as (network,):
        caches, start = network.kv_caches([len(tokens)]), 0
        for step in steps:
            fed = batch([step], (start,))
            h = network.embed(fed)
            for number, cache in enumerate(caches):
                network.step(number, h, fed, PassOptions(cache))
            last = network.normed(h[-1:])
            made.append(np.concatenate([block for _, block in network.logits(last)], axis=1))
            start += len(step)
    return np.concatenate(made)


def test_each_step_has_the_logits_of_the_whole_sequence() -> None:
    """The temperature, which hangs on a token's position, begins at the 17th."""
    wanted = np.load(GOLDEN / "logits_f32.npy")[2][:24]
    found = cached_logits(prompts()[2][:24], 12)
    np.testing.assert_allclose(found, wanted[11:], rtol=0, atol=CLOSE / 4)


def continued(tokens: np.ndarray, count: int, sampling: Sampling) -> list[int]:
    """A continuation by the whole network, computed anew at each step."""
    random, said = np.random.default_rng(sampling.seed), list(tokens)
    for _ in range(count):
        said.append(choose(logits(RELEASE, [np.array(said)])[-1], sampling, random))
    return [int(token) for token in said[len(tokens) :]]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(2.0, 0.9, 5)], ids=["greedy", "drawn"])
def test_a_continuation_is_that_of_the_whole_network(
    sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_constants(monkeypatch, temperature_context=4)
    prompt = prompts()[2][:6]  # its last is id 0, which is a token like others
    checkpoint = open_checkpoint(str(RELEASE))
    (made,) = generate(checkpoint, [prompt], 3, sampling).tokens
    assert list(made) == continued(prompt, 3, sampling)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "flow.safetensors"
    answer("evaluate", RELEASE, "--tokens", GOLDEN / "tokens.npy", "--calibrate", out)
    return out


def test_what_flows_into_every_weight_is_calibrated(calibration: Path) -> None:
    """Into the MLP as into the experts: every token passes through it."""
    measured, checkpoint = load_file(calibration), open_checkpoint(str(RELEASE))
    weights = {
        entry.name: checkpoint.tensors[entry.name].values.shape[:-1]
        for entry in checkpoint.model.tensors()
        if entry.rule.quantized
    }
    means = {name: values for name, values in measured.items() if name.endswith("/mean_square")}
    assert {name: values.shape for name, values in means.items()} == {
        f"{name}/mean_square": shape for name, shape in weights.items()
    }
    prefix, tokens = "model.layers.1.", prompts()
    shared = measured[f"{prefix}mlp.up_proj.weight/mean_square"]
    assert measured[f"{prefix}mlp.down_proj.weight/tokens"].tolist() == [sum(map(len, tokens))]
    routed = measured[f"{prefix}block_sparse_moe.experts.w1.weight/mean_square"]
    counts = measured[f"{prefix}block_sparse_moe.experts.w1.weight/tokens"]
    assert counts.sum() == 2 * sum(map(len, tokens))
    mean = (routed * counts[:, None]).sum(axis=0) / counts.sum()
    np.testing.assert_allclose(mean, shared, rtol=1e-4)


def quantized(out: Path, *options: Any) -> dict[str, Any]:
    """A copy in 4 bits, held against the release."""
    answer("quantize", RELEASE, "--bits", "4", "--group", "32", "-o", out, *options)
    compared = answer("evaluate", RELEASE, "--tokens", GOLDEN / "tokens.npy", "--against", out)
    data: dict[str, Any] = compared["data"]
    return data


def test_a_calibrated_copy_is_nearer_to_the_release(calibration: Path, tmp_path: Path) -> None:
    """In all layers together: random weights gain a hundredth, and may lose it in one layer."""
    usual = quantized(tmp_path / "usual")
    minded = quantized(tmp_path / "minded", "--importance", calibration)
    before, after = (sum(row["experts"] for row in one["layers"]) for one in (usual, minded))
    assert after < before


def test_weights_of_two_forms_are_compared_by_name(tmp_path: Path) -> None:
    answer("convert", RELEASE, "--to", "hf", "-o", tmp_path / "merged")
    found = answer("diff", RELEASE, tmp_path / "merged")
    assert found["status"] == "equal"
