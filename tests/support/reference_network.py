"""Running the network in tests, and what xAI's own code computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.evaluation.evaluation_options import EvaluateOptions, networks
from grokpack.evaluation.network.batch import batch
from grokpack.models import hyperparameters
from tests.support.checkpoints import GOLDEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest


def prompts() -> list[np.ndarray]:
    """The golden prompts, without padding."""
    config = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
    tokens = np.load(GOLDEN / "tokens.npy")
    return [row[:n] for row, n in zip(tokens, config["prompt_lengths"], strict=True)]


def golden(name: str) -> np.ndarray:
    """Logits that xAI's code computed for them, `f32[T, vocab]`, joined."""
    rows = np.load(GOLDEN / f"{name}.npy")
    return np.concatenate([row[: len(p)] for row, p in zip(rows, prompts(), strict=True)])


def logits(folder: Path, sequences: Sequence[np.ndarray], **options: Any) -> np.ndarray:
    """Logits of all tokens of the sequences, joined."""
    joined = batch(list(sequences))
    checkpoint = open_checkpoint(str(folder))
    with networks([checkpoint], joined.size, EvaluateOptions(**options)) as (network,):
        h = network.embed(joined)
        for number in range(len(network.layers)):
            network.step(number, h, joined)
        return np.concatenate([block for _, block in network.logits(network.normed(h))], axis=1)


def change_constants(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """Let every config say other constants than it does."""
    honest = hyperparameters.read
    monkeypatch.setattr(hyperparameters, "read", lambda *args: replace(honest(*args), **changed))


def random_tokens(vocab: int, lengths: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    """Sequences of any tokens but the padding."""
    random = np.random.default_rng(seed)
    return [random.integers(1, vocab, n) for n in lengths]


def tokenizer(folder: Path, text: str) -> Path:
    """A small sentencepiece model, trained on a text."""
    import sentencepiece

    (folder / "corpus.txt").write_text(text, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / "tokenizer.model"
