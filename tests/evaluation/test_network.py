"""The network computes what xAI's own code computes, from any format, each weight read once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.evaluation import evaluation_options
from grokpack.evaluation.input_tokens import Inputs
from grokpack.evaluation.network import (
    arithmetic,
    attention,
    experts,
    forward_pass,
    gated_mlp,
    layer,
    matrices,
    matrix_products,
)
from grokpack.evaluation.network.batch import batch
from grokpack.evaluation.single_evaluation import evaluate
from grokpack.models.config_json import FILE
from tests.oracle import forward
from tests.support.checkpoints import GOLDEN, reshard, synthesize
from tests.support.conversions import WIDE, convert
from tests.support.reference_network import change_constants, golden, logits, prompts, random_tokens

CLOSE = 1e-3
"""The largest difference of a logit that is allowed; 6e-5 to 1e-4 are measured, by machine."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More query heads than key heads, so that their order shows."""
    return synthesize(tmp_path_factory.mktemp("made") / "model", WIDE, seed=3)


def oracle(folder: Path, sequences: list[np.ndarray]) -> np.ndarray:
    weights, config = forward.load(folder)
    return np.concatenate([forward.forward(weights, config, s) for s in sequences])


@pytest.mark.parametrize("implementation", ["numpy", "numba"])
def test_logits_are_those_of_the_reference(
    implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROKPACK_KERNELS", implementation)
    found, wanted = logits(GOLDEN, prompts()), golden("logits_exact32")
    assert np.abs(found - wanted).max() < CLOSE / 5
    np.testing.assert_array_equal(found.argmax(axis=1), wanted.argmax(axis=1))


def test_bfloat16_is_as_near_to_the_reference_as_that_is_to_itself() -> None:
    """xAI's own logits differ by 0.25 in the median between two widths of parallelism."""
    found, wanted = logits(GOLDEN, prompts(), precision="bf16"), golden("logits_f32")
    assert np.median(np.abs(found - wanted).max(axis=1)) <= 0.25
    assert np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)) > 0.95
    exact = logits(GOLDEN, prompts())
    assert np.median(np.abs(exact - wanted).max(axis=1)) > np.median(
        np.abs(found - wanted).max(axis=1)
    )


def test_more_query_heads_than_key_heads(wide: Path) -> None:
    sequences = random_tokens(WIDE.vocab, (33, 1, 18))
    np.testing.assert_allclose(logits(wide, sequences), oracle(wide, sequences), atol=CLOSE / 10)


@pytest.mark.parametrize("lead", [[0], [0, 0, 0], []])
def test_padding_is_no_key_wherever_it_stands(wide: Path, lead: list[int]) -> None:
    """Tokens that see nothing but padding look at everything alike, as in the reference."""
    tokens = np.array([*lead, 5, 0, 9, 31, 0, 0, 7])
    np.testing.assert_allclose(logits(wide, [tokens]), oracle(wide, [tokens]), atol=CLOSE / 10)
    everything = np.zeros(4, np.int64)
    np.testing.assert_allclose(
        logits(wide, [everything]), oracle(wide, [everything]), atol=CLOSE / 10
    )


def _interleaved(x: np.ndarray, cosines: np.ndarray, sines: np.ndarray) -> np.ndarray:
    even, odd = x[..., ::2].copy(), x[..., 1::2].copy()
    cos, sin = cosines[:, None, :], sines[:, None, :]
    x[..., ::2], x[..., 1::2] = even * cos - odd * sin, odd * cos + even * sin
    return x


def _renormalized(x: np.ndarray, *weights: Any) -> experts.Routing:
    found = ROUTE(x, *weights)
    gates = found.gates / found.gates.sum(axis=1, keepdims=True)
    return experts.Routing(found.chosen, gates, found.margin)


ROUTE = experts.route
WRONG: dict[str, tuple[Any, str, Any]] = {
    "no cap": (attention, "soft_cap", lambda x, _cap: x),
    "cap of 50": (attention, "soft_cap", lambda x, _cap: arithmetic.soft_cap(x, 50.0)),
    "erf for tanh in GELU": (layer, "GELUS", {"tanh": arithmetic.gelu_erf}),
    "interleaved RoPE": (attention, "apply_rope", _interleaved),
    "renormalized gates": (experts, "route", _renormalized),
    "gate and up swapped": (
        experts,
        "EXPERT",
        gated_mlp.GatedParts("expert_up", "expert_gate", "expert_down"),
    ),
    "norms swapped": (layer, "NORMS", (layer.NORMS[1], layer.NORMS[0], *layer.NORMS[2:])),
    "padding is a key": (attention, "MASKED", None),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_ingredient_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with the reference fails where one of its ingredients is another."""
    place, attribute, wrong = WRONG[name]
    if name == "padding is a key":
        change_constants(monkeypatch, pad=-1)
    else:
        monkeypatch.setattr(place, attribute, wrong)
    assert np.abs(logits(GOLDEN, prompts()) - golden("logits_exact32")).max() > CLOSE


@pytest.mark.parametrize(
    ("constant", "wrong"),
    [
        ("embedding_multiplier", 1.0),
        ("output_multiplier", 1.0),
        ("attn_output_multiplier", 0.1),
        ("rms_norm_eps", 1e-6),
        ("rope_theta", 1e5),
        ("selected_experts", 1),
        ("attn_logit_cap", 0.0),
    ],
)
def test_each_constant_shows(constant: str, wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    change_constants(monkeypatch, **{constant: wrong})
    assert np.abs(logits(GOLDEN, prompts()) - golden("logits_exact32")).max() > CLOSE


def test_the_order_of_key_heads_shows(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = attention.Attention.attend

    def other_order(self: Any, queries: np.ndarray, *rest: Any) -> np.ndarray:
        shape = len(queries), 4, 4, 16  # 16 heads, 4 to a key head
        transposed = np.ascontiguousarray(queries.reshape(shape).swapaxes(1, 2))
        return honest(self, transposed.reshape(queries.shape), *rest)

    sequences = random_tokens(WIDE.vocab, (20,))
    monkeypatch.setattr(attention.Attention, "attend", other_order)
    assert np.abs(logits(wide, sequences) - oracle(wide, sequences)).max() > CLOSE


FORMATS: list[tuple[str, dict[str, Any], float]] = [
    ("safetensors", {}, 0),
    ("zarr", {}, 0),
    ("archive", {}, 0),
    ("hf", {"dtype": "f32"}, 1e-5),
    ("gguf", {"type": "f32", "embedding": "f32"}, 1e-5),
    ("gguf", {"type": "q8_0", "embedding": "f32"}, 1e-5),
    ("gguf", {"type": "bf16"}, 0.05),
    ("hf", {}, 0.05),
]


@pytest.mark.parametrize(("to", "options", "close"), FORMATS)
def test_any_format_computes_the_same(
    wide: Path, tmp_path: Path, to: str, options: dict[str, Any], close: float
) -> None:
    out = tmp_path / ("out.gguf" if to == "gguf" else "out")
    convert(wide, out, to, **options)
    sequences = random_tokens(WIDE.vocab, (40, 12))
    np.testing.assert_allclose(
        logits(out, sequences), logits(wide, sequences), rtol=0, atol=close or 0
    )


def test_a_cut_for_ranks_computes_the_same(wide: Path, tmp_path: Path) -> None:
    reshard(wide, tmp_path / "out", 4)
    sequences = random_tokens(WIDE.vocab, (25,))
    np.testing.assert_array_equal(logits(tmp_path / "out", sequences), logits(wide, sequences))


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut everything that is cut for the sake of memory or of the cache into many pieces."""
    monkeypatch.setattr(matrices, "BAND_BYTES", 4096)
    monkeypatch.setattr(matrices, "_ALIGNED", 32)
    monkeypatch.setattr(matrix_products, "TILE_COLUMNS", 24)
    monkeypatch.setattr(matrix_products, "TILE_ROWS", 40)
    monkeypatch.setattr(matrix_products, "TOKENS", 7)
    monkeypatch.setattr(gated_mlp, "HIDDEN_BYTES", 4096)
    monkeypatch.setattr(gated_mlp, "_ALIGNED", 32)
    monkeypatch.setattr(attention, "_LOGITS_BYTES", 1024)
    monkeypatch.setattr(forward_pass, "_AHEAD_BYTES", 3 * 4096)


@pytest.mark.parametrize("to", ["ckpt-0", "hf", "gguf"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_pieces_of_any_size_give_the_same(
    wide: Path, tmp_path: Path, to: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = wide
    if to != "ckpt-0":
        source = tmp_path / ("out.gguf" if to == "gguf" else "out")
        convert(wide, source, to, **({"type": "q8_0"} if to == "gguf" else {"dtype": "f32"}))
    sequences = random_tokens(WIDE.vocab, (33, 21))
    whole = logits(source, sequences)
    small_pieces(monkeypatch)
    once = logits(source, sequences, workers=workers)
    np.testing.assert_allclose(once, whole, atol=CLOSE / 10)
    np.testing.assert_array_equal(logits(source, sequences, workers=workers), once)


def test_threads_do_not_show_in_the_result(wide: Path) -> None:
    sequences = random_tokens(WIDE.vocab, (50,))
    one, four = (logits(wide, sequences, workers=n) for n in (1, 4))
    np.testing.assert_array_equal(one, four)


def test_activations_on_disk_give_the_same(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = random_tokens(WIDE.vocab, (30, 30))
    wanted = logits(wide, sequences)
    made: list[int] = []
    honest = storage.scratch_memory

    def counted(nbytes: int) -> Any:
        made.append(nbytes)
        return honest(nbytes)

    monkeypatch.setattr(storage, "scratch_memory", counted)
    limit = evaluation_options._FIXED_BYTES
    np.testing.assert_array_equal(logits(wide, sequences, memory_bytes=limit), wanted)
    assert len(made) > 10


def test_each_weight_is_read_once_and_only_chosen_experts(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bands that are asked for cover each matrix once; experts that no token chose are left."""
    asked: list[tuple[str, int | None, int]] = []
    honest = matrices.read

    def counted(whole: Any, rows: Any, columns: Any, reader: Any) -> Any:
        elements = (rows[1] - rows[0]) * (columns[1] - columns[0])
        asked.append((whole.tensor.name, whole.expert, elements))
        return honest(whole, rows, columns, reader)

    monkeypatch.setattr(matrices, "read", counted)
    small_pieces(monkeypatch)
    chosen: dict[int, set[int]] = {}
    checkpoint = open_checkpoint(str(wide))
    tokens = batch([np.array([5, 5])])
    with evaluation_options.networks([checkpoint], 2, evaluation_options.EvaluateOptions()) as (
        network,
    ):
        h = network.embed(tokens)
        for number in range(len(network.layers)):
            chosen[number] = set(network.step(number, h, tokens).chosen.ravel().tolist())
        for _ in network.logits(network.normed(h)):
            pass
    assert all(len(found) < WIDE.experts for found in chosen.values())
    for name, tensor in checkpoint.tensors.items():
        if len(tensor.values.shape) < 2 or "router" in name:
            continue
        total = sum(n for asked_name, _, n in asked if asked_name == name)
        if "/moe/" in name:
            number = int(name.split("_layer_")[1].partition("/")[0])
            assert {e for n, e, _ in asked if n == name} == chosen[number]
            assert total == tensor.values.elements // WIDE.experts * len(chosen[number])
        else:
            assert total == tensor.values.elements


def test_what_cannot_be_read_ends_the_run(wide: Path, tmp_path: Path) -> None:
    import shutil

    from grokpack.core.errors import GrokpackError

    shutil.copytree(wide, tmp_path / "m")
    checkpoint = open_checkpoint(str(tmp_path / "m"))
    (tmp_path / "m" / "ckpt-0" / "tensor00008_000").unlink()
    inputs = Inputs(tuple(random_tokens(WIDE.vocab, (9,))), np.full(9, -1))
    with pytest.raises(GrokpackError) as caught:
        evaluate(checkpoint, inputs)
    assert caught.value.code in ("GP213", "GP214")


def test_a_config_without_head_size_is_refused(wide: Path, tmp_path: Path) -> None:
    import shutil

    from grokpack.core.errors import GrokpackError

    shutil.copytree(wide, tmp_path / "m")
    config = json.loads((tmp_path / "m" / FILE).read_text(encoding="utf-8"))
    for name in ("key_size", "num_q_heads"):  # either tells the size
        config.pop(name)
    (tmp_path / "m" / FILE).write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(GrokpackError, match="size of an attention head"):
        logits(tmp_path / "m", random_tokens(WIDE.vocab, (3,)))
