"""Blocks that Grok-1 lacks are computed as a plain network in float64 computes them."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors import safe_open

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_synth import plan_synth_model
from grokpack.core.layout import whole_box
from grokpack.evaluation.calibration import Calibration
from grokpack.evaluation.generation import generate
from grokpack.evaluation.input_tokens import Inputs
from grokpack.evaluation.network import arithmetic, gated_mlp
from grokpack.evaluation.pair_evaluation import evaluate_pair
from grokpack.evaluation.single_evaluation import evaluate
from grokpack.execution.run import execute
from grokpack.models import registry
from grokpack.models.family import Model
from grokpack.transforms.dequantize import read_as_f32
from tests.support.reference_network import logits, random_tokens
from tests.support.third_family import CAPS, FAMILY, SMALL

if TYPE_CHECKING:
    from pathlib import Path

CLOSE = 1e-5
"""The largest difference of a logit that is allowed; 2e-6 is measured."""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FAMILIES, FAMILY.name, FAMILY)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("third") / "model"
    execute(plan_synth_model(Model(FAMILY, SMALL), 7), str(out))
    return out


class Reference:
    """The network in float64, token by token, from whole weights."""

    def __init__(self, folder: Path) -> None:
        checkpoint = open_checkpoint(str(folder))
        reader = ArrayReader(checkpoint)
        self.weights: dict[tuple[str, int | None], np.ndarray] = {}
        for entry in checkpoint.model.tensors():
            tensor = checkpoint.tensors[entry.name]
            values = read_as_f32(tensor, whole_box(tensor.values.shape), reader).astype(np.float64)
            self.weights[entry.rule.part, entry.layer] = values
        self.constants = FAMILY.constants(SMALL)

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        h = self.weights["embedding", None][tokens] * self.constants.embedding_multiplier
        for layer in range(SMALL.layers):
            x = self.norm(h, "pre_attention_norm", layer)
            h = h + self.norm(self.attention(x, tokens, layer), "post_attention_norm", layer)
            x = self.norm(h, "pre_expert_norm", layer)
            mixed = self.mlp(x, "mlp", layer) + self.experts(x, layer)
            h = h + self.norm(mixed * FAMILY.network.mix_factor, "post_expert_norm", layer)
        made = self.norm(h, "final_norm", None) @ self.weights["head", None].T
        return cap(made * self.constants.output_multiplier, self.constants.final_logit_cap)

    def norm(self, x: np.ndarray, part: str, layer: int | None) -> np.ndarray:
        mean = np.mean(x * x, axis=-1, keepdims=True)
        scale = self.weights[part, layer]
        return np.asarray(x / np.sqrt(mean + self.constants.rms_norm_eps) * scale)

    def mlp(self, x: np.ndarray, name: str, layer: int, expert: Any = ...) -> np.ndarray:
        gate, up, down = (
            self.weights[f"{name}_{part}", layer][expert] for part in ("gate", "up", "down")
        )
        return np.asarray((gelu(x @ gate) * (x @ up)) @ down)

    def experts(self, x: np.ndarray, layer: int) -> np.ndarray:
        routed = cap(x @ self.weights["router", layer], self.constants.router_logit_cap)
        gates = softmax(routed)
        made = np.zeros_like(x)
        for token, own in enumerate(gates):
            for expert in np.argsort(-own)[: self.constants.selected_experts]:
                made[token] += own[expert] * self.mlp(x[token], "expert", layer, expert)
        return made

    def attention(self, x: np.ndarray, tokens: np.ndarray, layer: int) -> np.ndarray:
        count, size = len(x), SMALL.head_dim or 1
        q, k, v = (
            (x @ self.weights[part, layer]).reshape(count, -1, size)
            for part in ("query", "key", "value")
        )
        q, k = (rotated(heads, self.constants.rope_theta) for heads in (q, k))
        made = np.zeros_like(q)
        for head in range(q.shape[1]):
            own = head * k.shape[1] // q.shape[1]
            for at in range(count):
                scores = k[: at + 1, own] @ q[at, head] * self.constants.attn_output_multiplier
                scores = cap(scores, self.constants.attn_logit_cap)
                if at > self.constants.temperature_context:
                    scores *= math.log2(at) / math.log2(self.constants.temperature_context)
                scores[tokens[: at + 1] == self.constants.pad] = -1e30
                made[at, head] = softmax(scores) @ v[: at + 1, own]
        return np.asarray(made.reshape(count, -1) @ self.weights["attention_output", layer])


def cap(x: np.ndarray, bound: float) -> np.ndarray:
    return np.asarray(bound * np.tanh(x / bound))


def gelu(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def softmax(x: np.ndarray) -> np.ndarray:
    shares = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def rotated(x: np.ndarray, theta: float) -> np.ndarray:
    half = x.shape[-1] // 2
    phases = np.outer(np.arange(len(x)), theta ** (-np.arange(half) / half))[:, None, :]
    transposed = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * phases)
    return np.concatenate((transposed.real, transposed.imag), axis=-1)


@pytest.fixture(scope="module")
def sequences() -> list[np.ndarray]:
    return random_tokens(SMALL.vocab, (21, 4, 9))


@pytest.fixture(scope="module")
def wanted(source: Path, sequences: list[np.ndarray]) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.FAMILIES, FAMILY.name, FAMILY)
        reference = Reference(source)
    return np.concatenate([reference.logits(tokens) for tokens in sequences])


@pytest.mark.parametrize("hidden_bytes", [gated_mlp.HIDDEN_BYTES, 4096])
def test_logits_are_those_of_a_plain_network(
    source: Path,
    sequences: list[np.ndarray],
    wanted: np.ndarray,
    hidden_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gated_mlp, "HIDDEN_BYTES", hidden_bytes)
    monkeypatch.setattr(gated_mlp, "_ALIGNED", 32)
    np.testing.assert_allclose(logits(source, sequences), wanted, rtol=0, atol=CLOSE)


OTHERS: dict[str, Any] = {
    "GELU by tanh": {"network": replace(FAMILY.network, gelu="tanh")},
    "no factor of the mixture": {"network": replace(FAMILY.network, mix_factor=1.0)},
    "no cap of the router": {"constants": {"router_logit_cap": 0.0}},
    "no last cap": {"constants": {"final_logit_cap": 0.0}},
    "no temperature": {"constants": {"temperature_context": 0}},
}


@pytest.mark.parametrize("name", OTHERS)
def test_each_ingredient_shows(
    source: Path,
    sequences: list[np.ndarray],
    wanted: np.ndarray,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed = dict(OTHERS[name])
    if "constants" in changed:
        other = replace(FAMILY.constants(SMALL), **changed["constants"])
        changed |= {"constants": lambda _geometry: other, "hyperparameters": {}}
    monkeypatch.setitem(registry.FAMILIES, FAMILY.name, replace(FAMILY, **changed))
    assert np.abs(logits(source, sequences) - wanted).max() > 5 * CLOSE


def test_gelu_by_the_error_function_is_exact_to_float32() -> None:
    x = np.linspace(-7, 7, 20_001).astype(np.float32)
    found = arithmetic.gelu_erf(x.copy())
    np.testing.assert_allclose(found, gelu(x.astype(np.float64)), rtol=0, atol=1e-6)


FORMATS: dict[str, dict[str, Any]] = {
    "zarr": {},
    "hf": {"dtype": "f32"},
    "gguf": {"type": "f32", "embedding": "f32", "tokenizer": "none"},
}


@pytest.mark.parametrize("to", FORMATS)
def test_any_format_computes_the_same(
    source: Path, sequences: list[np.ndarray], wanted: np.ndarray, to: str, tmp_path: Path
) -> None:
    """Its caps and its temperature stand in each format's own config."""
    plan = plan_convert(open_checkpoint(str(source)), to, ConvertOptions(**FORMATS[to]))
    out = tmp_path / ("out.gguf" if to == "gguf" else "out")
    execute(plan, str(out))
    told = open_checkpoint(str(out)).config
    assert {name: told.get(f"own_{name}") for name in CAPS} == CAPS
    np.testing.assert_allclose(logits(out, sequences), wanted, rtol=0, atol=CLOSE)


def given(sequences: list[np.ndarray]) -> Inputs:
    """Sequences with nothing to predict."""
    return Inputs(tuple(sequences), np.full(sum(map(len, sequences)), -1))


def test_every_weight_is_compared_with_its_counterpart(
    source: Path, sequences: list[np.ndarray], tmp_path: Path
) -> None:
    """Those of the MLP belong to the half of the experts; the embedding is no head here."""
    first = open_checkpoint(str(source))
    options = ConvertOptions(names="third", dtype="bf16")
    execute(plan_convert(first, "hf", options), str(tmp_path / "hf"))
    found = evaluate_pair(first, open_checkpoint(str(tmp_path / "hf")), given(sequences))
    assert not any(part.beyond for part in found.parts)
    seen = [row.name for part in found.parts for row in part.weights]
    assert set(seen) == set(first.tensors)
    by_part = {part.name: {row.part for row in part.weights} for part in found.parts}
    assert by_part["embedding"] == {"embedding"}
    assert by_part["head"] == {"head", "final_norm"}
    assert {"mlp_gate", "mlp_up", "mlp_down", "expert_up"} < by_part["experts"]


def test_a_weight_of_the_mlp_that_is_another_is_found(
    source: Path, sequences: list[np.ndarray], tmp_path: Path
) -> None:
    first = open_checkpoint(str(source))
    execute(plan_synth_model(Model(FAMILY, SMALL), 8), str(tmp_path / "other"))
    name = first.model.tensor("mlp_down", 1)
    copied = tmp_path / "copy"
    shutil.copytree(source, copied)
    file = f"tensor{name.index:05d}_000"
    (copied / "ckpt-0" / file).write_bytes((tmp_path / "other" / "ckpt-0" / file).read_bytes())
    found = evaluate_pair(first, open_checkpoint(str(copied)), given(sequences))
    (wrong,) = (part for part in found.parts if part.beyond)
    assert (wrong.layer, wrong.name) == (1, "experts")
    assert [row.name for row in wrong.weights if row.state == "beyond"] == [name.name]


def test_what_flows_into_the_mlp_is_calibrated(
    source: Path, sequences: list[np.ndarray], tmp_path: Path
) -> None:
    checkpoint, inputs = open_checkpoint(str(source)), given(sequences)
    calibration = Calibration(checkpoint, str(tmp_path / "sums.safetensors"))
    evaluate(checkpoint, inputs, watch=calibration.watch)
    calibration.write(inputs, "text.txt")
    with safe_open(tmp_path / "sums.safetensors", "numpy") as file:
        means = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    weights = [entry.name for entry in checkpoint.model.tensors() if entry.rule.quantized]
    assert {name.removesuffix("/mean_square") for name in means if "mean" in name} == {*weights}
    for name in weights:
        assert means[f"{name}/mean_square"].shape == checkpoint.tensors[name].values.shape[:-1]


def test_generating_continues_as_one_pass_would(source: Path) -> None:
    """Also beyond the position where the temperature begins."""
    prompt = random_tokens(SMALL.vocab, (3,))[0]
    (made,) = generate(open_checkpoint(str(source)), [prompt], 8).tokens
    told = np.concatenate((prompt, np.array(made, np.int64)))
    likeliest = logits(source, [told]).argmax(axis=1)
    assert list(likeliest[len(prompt) - 1 : -1]) == list(made)
