"""`evaluate` says what a checkpoint computes, and names the layer from which another differs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from grokpack.cli.app import app
from grokpack.evaluation.network.logit_scores import Divergence, Scores
from grokpack.models.grok1 import GROK1
from tests.oracle import forward
from tests.report.test_schemas import answer, check
from tests.support import input_squares
from tests.support.checkpoints import GOLDEN, synthesize
from tests.support.conversions import WIDE, convert
from tests.support.forked import run
from tests.support.reference_network import golden, prompts, tokenizer

TOKENS = GOLDEN / "tokens.npy"


def evaluated(*arguments: str | float | Path) -> dict[str, Any]:
    return answer("evaluate", *map(str, arguments))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


@given(st.integers(1, 9), st.integers(9, 60), st.integers(1, 17), st.integers(0, 9))
def test_scores_are_those_of_whole_logits(rows: int, vocab: int, block: int, seed: int) -> None:
    """Block by block, against the plain formulas on everything at once."""
    random = np.random.default_rng(seed)
    ours, theirs = (
        (random.standard_normal((rows, vocab)) * 9).astype(np.float32) for _ in range(2)
    )
    targets = random.integers(-1, vocab, rows)
    found = Divergence(Scores(targets))
    for first in range(0, vocab, block):
        part = slice(first, first + block)
        found.first.add(first, ours[:, part])
        found.add(first, ours[:, part], theirs[:, part])
    one, other = log_softmax(ours), log_softmax(theirs)
    losses = np.where(targets < 0, np.nan, -one[np.arange(rows), targets])
    np.testing.assert_allclose(found.first.losses, losses, rtol=1e-5, atol=1e-5)
    kl = (np.exp(one) * (one - other)).sum(axis=1)
    np.testing.assert_allclose(found.kl, kl, rtol=1e-4, atol=1e-4)
    best = np.argsort(-ours, axis=1, kind="stable")[:, :8]
    np.testing.assert_array_equal(found.first.best, best)


def test_equal_logits_keep_the_order_of_the_vocabulary() -> None:
    scores = Scores(np.full(2, -1))
    for first in range(0, 40, 10):
        scores.add(first, np.ones((2, 10), np.float32))
    assert scores.best.tolist() == [list(range(8))] * 2


def test_perplexity_is_that_of_the_reference() -> None:
    found = evaluated(GOLDEN, "--tokens", TOKENS)["data"]
    losses = []
    start = 0
    for prompt in prompts():
        logs = log_softmax(golden("logits_exact32")[start : start + len(prompt)])
        start += len(prompt)
        losses += [-logs[i, t] for i, t in enumerate(prompt[1:]) if t != 0]
    assert found["loss"]["tokens"] == len(losses)
    assert found["loss"]["mean"] == pytest.approx(np.mean(losses), rel=1e-5)
    error = np.std(losses, ddof=1) / np.sqrt(len(losses))
    assert found["loss"]["error"] == pytest.approx(error, rel=1e-4)
    assert found["loss"]["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)
    tokens = sum(map(len, prompts()))
    assert found["tokens"] == tokens
    for row in found["layers"]:
        assert sum(row["load"]) == 2 * tokens


def test_logits_file_has_every_logit(tmp_path: Path) -> None:
    out = tmp_path / "logits.npy"
    evaluated(GOLDEN, "--tokens", TOKENS, "--logits", out)
    found = np.load(out)
    assert np.abs(found - golden("logits_exact32")).max() < 2e-4
    again = run("evaluate", GOLDEN, "--tokens", TOKENS, "--logits", out)
    assert again.returncode == 5
    assert "GP323" in again.stderr
    np.testing.assert_array_equal(np.load(out), found)


def test_a_run_that_fails_leaves_no_logits(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "m")
    file = tmp_path / "m" / "ckpt-0" / "tensor00030_000"
    file.write_bytes(file.read_bytes()[:-100])
    done = run("evaluate", tmp_path / "m", "--tokens", TOKENS, "--logits", tmp_path / "l.npy")
    assert done.returncode != 0
    assert {p.name for p in tmp_path.iterdir()} == {"m"}


def test_windows_miss_no_token(tmp_path: Path) -> None:
    """Each token but the first is predicted, also the first of a window."""
    ids = np.random.default_rng(0).integers(1, 512, 50)
    np.save(tmp_path / "ids.npy", ids)
    found = evaluated(GOLDEN, "--tokens", tmp_path / "ids.npy", "--context", 16)["data"]
    assert found["loss"]["tokens"] == 49
    weights, config = forward.load(GOLDEN)
    losses = []
    for first in range(0, 50, 16):
        logs = log_softmax(forward.forward(weights, config, ids[first : first + 16]))
        follow = ids[first + 1 : first + 17]
        losses += [-logs[i, t] for i, t in enumerate(follow)]
    assert found["loss"]["mean"] == pytest.approx(np.mean(losses), rel=1e-5)
    few = evaluated(GOLDEN, "--tokens", tmp_path / "ids.npy", "--max-tokens", 20)["data"]
    assert few["tokens"] == 20


def test_a_network_is_like_itself_in_other_formats(tmp_path: Path) -> None:
    convert(GOLDEN, tmp_path / "hf", "hf", dtype="bf16", tokenizer="none")
    for other, close in ((GOLDEN, 1e-6), (tmp_path / "hf", 0.01)):
        found = evaluated(GOLDEN, "--tokens", TOKENS, "--against", other)
        assert found["status"] == "within"
        for row in found["data"]["layers"]:
            assert max(row["attention"], row["experts"]) <= close
        assert found["data"]["suspects"] == []
    exact = evaluated(GOLDEN, "--tokens", TOKENS, "--against", GOLDEN)["data"]
    assert exact["kl"]["mean"] == pytest.approx(0, abs=1e-8)  # BLAS may sum otherwise for more rows
    assert (exact["top1"], exact["top8"]) == (1, 1)


def change(folder: Path, layer: int, slot: str, other_slot: str, other_layer: int) -> None:
    """Put one tensor's file in the place of another's."""
    names = {e.name: e.index for e in GROK1.tensors(12 if folder.name == "deep" else 3)}
    at, source = (
        names[f"transformer/decoder_layer_{n}/{s}"]
        for n, s in ((layer, slot), (other_layer, other_slot))
    )
    files = folder / "ckpt-0"
    shutil.copyfile(files / f"tensor{source:05d}_000", files / f"tensor{at:05d}_000")


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve layers, stored in the order of their numbers as strings."""
    return synthesize(tmp_path_factory.mktemp("made") / "model", replace(WIDE, layers=12), seed=5)


@pytest.mark.parametrize(
    ("layer", "slot", "other_slot", "other_layer", "part"),
    [
        (7, "moe/linear/w", "moe/linear_v/w", 7, "experts"),  # gate and up swapped
        (2, "moe/linear_1/w", "moe/linear_1/w", 10, "experts"),  # a layer out of order
        (11, "multi_head_attention/query/w", "multi_head_attention/query/w", 3, "attention"),
        (0, "multi_head_attention/value/w", "multi_head_attention/key/w", 0, "attention"),
    ],
)
def test_the_first_wrong_layer_is_named(
    deep: Path,
    tmp_path: Path,
    layer: int,
    slot: str,
    other_slot: str,
    other_layer: int,
    part: str,
) -> None:
    """Also in a copy that was rounded: other layers err, but not so."""
    bad = tmp_path / "deep"
    shutil.copytree(deep, bad)
    change(bad, layer, slot, other_slot, other_layer)
    convert(bad, tmp_path / "hf", "hf", tokenizer="none")
    ids = np.random.default_rng(1).integers(1, WIDE.vocab, 60)
    np.save(tmp_path / "ids.npy", ids)
    for other in (bad, tmp_path / "hf"):
        found = evaluated(deep, "--tokens", tmp_path / "ids.npy", "--against", other)
        assert (found["status"], found["exit_code"]) == ("beyond", 1)
        first = found["data"]["suspects"][0]
        assert (first["layer"], first["part"]) == (layer, part)
        assert len(found["data"]["suspects"]) == 1
        weights, network = found["findings"]
        assert (weights["code"], network["code"]) == ("GP144", "GP141")
        assert weights["tensor"] == f"transformer/decoder_layer_{layer}/{slot}"
        assert f"layer {layer}, {part}" in network["message"]


def test_a_quantized_copy_is_no_wrong_network(deep: Path, tmp_path: Path) -> None:
    answer("quantize", deep, "--group", "32", "--method", "rtn", "-o", tmp_path / "q4")
    np.save(tmp_path / "ids.npy", np.random.default_rng(1).integers(1, WIDE.vocab, 60))
    found = evaluated(deep, "--tokens", tmp_path / "ids.npy", "--against", tmp_path / "q4")
    assert found["data"]["suspects"] == []
    assert found["exit_code"] == 0
    assert found["data"]["kl"]["mean"] > 1e-4
    kl, top1 = found["data"]["kl"]["mean"], found["data"]["top1"]
    arguments = (deep, "--tokens", tmp_path / "ids.npy", "--against", tmp_path / "q4")
    well = evaluated(*arguments, "--max-kl", kl * 1.1, "--min-top1", top1)
    assert well["status"] == "within"
    for limit in (("--max-kl", kl * 0.9), ("--min-top1", min(1.0, top1 + 0.01))):
        bad = evaluated(*arguments, *limit)
        assert bad["exit_code"] == 1
        assert [row["code"] for row in bad["findings"]] == ["GP142"]


def test_another_embedding_is_named_as_such(deep: Path, tmp_path: Path) -> None:
    bad = synthesize(tmp_path / "other", replace(WIDE, layers=12), seed=6)
    shutil.copytree(deep, tmp_path / "deep")
    name = "tensor00000_000"
    shutil.copyfile(bad / "ckpt-0" / name, tmp_path / "deep" / "ckpt-0" / name)
    np.save(tmp_path / "ids.npy", np.random.default_rng(1).integers(1, WIDE.vocab, 60))
    found = evaluated(deep, "--tokens", tmp_path / "ids.npy", "--against", tmp_path / "deep")
    parts = [row["part"] for row in found["data"]["suspects"]]
    assert parts == ["embedding", "head"]


def test_calibration_is_what_flows_into_each_weight(tmp_path: Path) -> None:
    """Against the same sums over what the oracle multiplies with."""
    out = tmp_path / "flow.safetensors"
    evaluated(GOLDEN, "--tokens", TOKENS, "--calibrate", out)
    found = load_file(out)
    wanted = input_squares.of_grok1(GOLDEN)
    assert {name.rpartition("/")[0] for name in found} == set(wanted)
    for name, (sums, counts) in wanted.items():
        means = sums / np.maximum(counts, 1)[:, None]
        given = found[f"{name}/mean_square"].reshape(means.shape)
        np.testing.assert_allclose(given, means, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(found[f"{name}/tokens"], counts)


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        ([], "GP304", 2),
        (["--tokens", "a.npy", "--text", "b.txt"], "GP304", 2),
        (["--tokens", "missing.npy"], "GP342", 2),
        (["--tokens", "floats.npy"], "GP342", 2),
        (["--tokens", "cube.npy"], "GP342", 2),
        (["--tokens", "objects.npy"], "GP342", 2),
        (["--tokens", "padding.npy"], "GP342", 2),
        (["--tokens", "text.txt"], "GP342", 2),
        (["--text", "binary.txt"], "GP306", 2),
        (["--tokens", "large.npy"], "GP341", 2),
        (["--tokens", "negative.npy"], "GP341", 2),
        (["--tokens", "good.npy", "--max-kl", "0.1"], "GP304", 2),
        (["--tokens", "good.npy", "--precision", "f64"], "GP346", 2),
        (["--tokens", "good.npy", "--memory", "100MB"], "GP312", 5),
        (["--tokens", "good.npy", "--logits", "out.bin"], "GP346", 2),
        (["--tokens", "good.npy", "--against", "other"], "GP343", 1),
        (["--tokens", "good.npy", "--against", ".", "--logits", "l.npy"], "GP304", 2),
    ],
)
def test_bad_input_is_refused(
    arguments: list[str],
    code: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    synthesize(tmp_path / "other")
    np.save("floats.npy", np.ones(4))
    np.save("cube.npy", np.ones((2, 2, 2), int))
    np.save("objects.npy", np.array([{}]), allow_pickle=True)
    np.save("padding.npy", np.zeros((2, 4), int))
    np.save("large.npy", np.array([1, 512]))
    np.save("negative.npy", np.array([-1, 5]))
    np.save("good.npy", np.array([1, 5, 9]))
    Path("text.txt").write_text("hello", encoding="utf-8")
    Path("binary.txt").write_bytes(b"\xff\xfe")
    done = CliRunner().invoke(app, ["evaluate", str(GOLDEN), *arguments, "--json"])
    document = json.loads(done.stdout)
    check(document)
    assert document["errors"][0]["code"] == code
    assert done.exit_code == status


def test_a_text_is_cut_as_sentencepiece_cuts_it(tmp_path: Path) -> None:
    import sentencepiece

    text = "the quick brown fox jumps over the lazy dog " * 40
    model = tokenizer(tmp_path, text)
    ids = sentencepiece.SentencePieceProcessor(model_file=str(model)).encode(text)
    np.save(tmp_path / "ids.npy", np.array(ids))
    arguments = ("--context", "64", "--max-tokens", "100")
    words = evaluated(GOLDEN, "--text", tmp_path / "corpus.txt", "--tokenizer", model, *arguments)
    numbers = evaluated(GOLDEN, "--tokens", tmp_path / "ids.npy", *arguments)
    assert words["data"]["loss"] == numbers["data"]["loss"]
    assert words["data"]["tokens"] == 100


def test_the_answer_for_people(tmp_path: Path) -> None:
    done = run("evaluate", GOLDEN, "--tokens", TOKENS, "--report", tmp_path / "page.html")
    assert done.returncode == 0
    assert done.stdout.startswith("perplexity  7.007e+04 +- ")
    assert "TFLOP" in done.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Tokens of each expert" in page
    both = run(
        "evaluate", GOLDEN, "--tokens", TOKENS, "--against", GOLDEN, "--report",
        tmp_path / "pair.html",
    )  # fmt: skip
    assert both.stdout.splitlines()[-2].startswith("within  error of ")
    assert "Relative error by layer" in (tmp_path / "pair.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint with NaN in a norm, through which every token passes."""
    folder = tmp_path_factory.mktemp("broken") / "m"
    convert(GOLDEN, folder, "hf", dtype="f32", tokenizer="none")
    for path in folder.glob("*.safetensors"):
        arrays = load_file(path)
        if "model.norm.scale" in arrays:
            arrays["model.norm.scale"][3] = np.nan
            save_file(arrays, path, {"format": "pt"})
    (folder / "grokpack.json").unlink()
    return folder


def test_a_network_that_gives_no_numbers_is_no_success(broken: Path) -> None:
    """`perplexity none: no token has a successor` was said, with exit status 0."""
    done = run("evaluate", broken, "--tokens", TOKENS, "--layers", "1")
    assert done.returncode == 1
    assert "perplexity  not finite" in done.stdout
    assert "error[GP120]" in done.stdout


def test_no_token_is_chosen_where_there_are_no_numbers(broken: Path) -> None:
    """Token 0 was, for any prompt."""
    done = run("generate", broken, "--tokens", TOKENS, "--max-new-tokens", "2")
    assert done.returncode == 1
    assert "error[GP120]: the logits of the next token are no numbers" in done.stderr
    assert not done.stdout.strip()
