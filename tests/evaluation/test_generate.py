"""`generate` continues prompts with what the whole network would say at each step."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from typer.testing import CliRunner

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli.app import app
from grokpack.evaluation.evaluation_options import EvaluateOptions, cost
from grokpack.evaluation.generation import Sampling, choose, generate
from grokpack.models.grok1 import GROK1
from tests.oracle import forward
from tests.report.test_schemas import answer, check
from tests.support.checkpoints import GOLDEN, synthesize
from tests.support.conversions import WIDE
from tests.support.forked import run
from tests.support.reference_network import logits, prompts, random_tokens, tokenizer


def continued(folder: Path, starts: list[np.ndarray], count: int) -> list[list[int]]:
    """By the oracle, which remembers nothing and computes everything anew."""
    weights, config = forward.load(folder)
    made = []
    for start in starts:
        tokens = list(start)
        for _ in range(count):
            tokens.append(int(forward.forward(weights, config, np.array(tokens))[-1].argmax()))
        made.append(tokens[len(start) :])
    return made


def test_what_is_remembered_of_long_prompts_counts_as_memory() -> None:
    checkpoint = Mock(geometry=GROK1.release, tensors={})
    options = EvaluateOptions()
    assert cost(checkpoint, 1500, options, cached=True).spilled_bytes == 0
    spilled = cost(checkpoint, 8192, options, cached=True).spilled_bytes
    assert spilled > 8192 * 64 * 2 * 1024 * 4
    assert cost(checkpoint, 8192, options).spilled_bytes == 0


@pytest.mark.parametrize("memory", ["2GiB", "1GiB"])
def test_each_token_is_the_likeliest_of_the_whole_network(tmp_path: Path, memory: str) -> None:
    """Sequences of several lengths at once, one of them with padding in it."""
    source = synthesize(tmp_path / "m", WIDE, seed=4)
    starts = [np.array([7, 0, 9, 0, 3]), *random_tokens(WIDE.vocab, (1, 30))]
    rows = np.zeros((3, 30), int)
    for row, start in zip(rows, starts, strict=True):
        row[: len(start)] = start
    np.save(tmp_path / "ids.npy", rows)
    found = answer(
        "generate", source, "--tokens", tmp_path / "ids.npy", "--max-new-tokens", "6",
        "--memory", memory,
    )["data"]  # fmt: skip
    wanted = continued(source, starts, 6)
    assert [row["prompt"] for row in found["sequences"]] == [list(s) for s in starts]
    for row, tokens in zip(found["sequences"], wanted, strict=True):
        ended = tokens.index(2) if 2 in tokens else None
        assert row["tokens"] == tokens[:ended]
        assert row["ended"] == (ended is not None)


def test_continuations_agree_with_the_reference_step_by_step() -> None:
    """xAI's own continuation, in bfloat16; each step is given what the reference said before."""
    said = np.load(GOLDEN / "greedy_tokens.npy")
    sequences = [np.append(p, row[:-1]) for p, row in zip(prompts(), said, strict=True)]
    found = logits(GOLDEN, sequences)
    agree, start = [], 0
    for prompt, row in zip(prompts(), said, strict=True):
        first = start + len(prompt) - 1
        agree.append(found[first : first + len(row)].argmax(axis=1) == row)
        start += len(prompt) + len(row) - 1
    assert np.mean(agree) >= 0.97


def test_a_sequence_ends_with_its_token() -> None:
    """The others go on."""
    checkpoint = open_checkpoint(str(GOLDEN))
    starts = prompts()[:3]
    usual = generate(checkpoint, starts, 5)
    assert usual.ended == (False, False, False)
    checkpoint = open_checkpoint(str(GOLDEN))
    object.__setattr__(checkpoint, "config", {**checkpoint.config, "eos_token": usual.tokens[1][0]})
    found = generate(checkpoint, starts, 5)
    assert found.tokens[1] == ()
    assert found.ended[1]
    for n in (0, 2):
        kept = usual.tokens[n]
        if usual.tokens[1][0] not in kept:
            assert found.tokens[n] == kept


def test_draws_follow_the_probabilities() -> None:
    logits_ = np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    random = np.random.default_rng(0)
    drawn = np.bincount([choose(logits_, Sampling(1.0), random) for _ in range(4000)])
    np.testing.assert_allclose(drawn / 4000, [0.1, 0.2, 0.3, 0.4], atol=0.03)
    cooler = np.bincount([choose(logits_, Sampling(0.5), random) for _ in range(4000)])
    np.testing.assert_allclose(cooler / 4000, np.array([1, 4, 9, 16]) / 30, atol=0.03)
    nucleus = np.bincount(
        [choose(logits_, Sampling(1.0, 0.65), random) for _ in range(4000)], minlength=4
    )
    np.testing.assert_allclose(nucleus / 4000, [0, 0, 3 / 7, 4 / 7], atol=0.03)
    assert {choose(logits_, Sampling(1.0, 0.0), random) for _ in range(99)} == {3}
    assert choose(logits_, Sampling(), random) == 3


def test_a_seed_gives_the_same_again(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.array([5, 9, 30]))

    def drawn(seed: int) -> list[int]:
        found = answer(
            "generate", GOLDEN, "--tokens", tmp_path / "ids.npy", "--temperature", "20",
            "--max-new-tokens", "8", "--seed", str(seed),
        )  # fmt: skip
        tokens: list[int] = found["data"]["sequences"][0]["tokens"]
        return tokens

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_text_is_continued_in_words(tmp_path: Path) -> None:
    import sentencepiece

    text = "the quick brown fox jumps over the lazy dog " * 40
    model = tokenizer(tmp_path, text)
    words = ("--prompt", "the quick", "--tokenizer", model, "--max-new-tokens", "4")
    done = run("generate", GOLDEN, *words)
    assert done.returncode == 0
    assert "each token reads " in done.stderr
    found = answer("generate", GOLDEN, *words)["data"]["sequences"][0]
    assert found["prompt"] == sentencepiece.SentencePieceProcessor(model_file=str(model)).encode(
        "the quick"
    )
    assert done.stdout == found["text"] + "\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], "GP304"),
        (["--prompt", "a", "--tokens", "b.npy"], "GP304"),
        (["--prompt", "a"], "GP306"),
        (["--tokens", "missing.npy"], "GP342"),
        (["--tokens", "large.npy"], "GP341"),
    ],
)
def test_bad_prompts_are_refused(
    arguments: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("large.npy", np.array([1, 9999]))
    done = CliRunner().invoke(app, ["generate", str(GOLDEN), *arguments, "--json"])
    document = json.loads(done.stdout)
    check(document)
    assert document["errors"][0]["code"] == code
    assert done.exit_code == 2
