"""Ways to run prompts through a model: alone, in padded batches, in steps, by generate()."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

PAD = 0
NEW_TOKENS = 12

Prompts = Sequence[np.ndarray]


def one_by_one(model: Any, prompts: Prompts) -> list[np.ndarray]:
    """Logits of each prompt, `f32[tokens, vocab]`."""
    return [_logits(model, torch.from_numpy(p)[None])[0] for p in prompts]


def right_padded(model: Any, prompts: Prompts) -> list[np.ndarray]:
    """As the reference takes them: padding behind, and nothing but the tokens to tell it."""
    width = max(map(len, prompts))
    batch = np.stack([np.pad(p, (0, width - len(p)), constant_values=PAD) for p in prompts])
    found = _logits(model, torch.from_numpy(batch))
    return [row[: len(p)] for row, p in zip(found, prompts, strict=True)]


def left_padded(model: Any, prompts: Prompts) -> list[np.ndarray]:
    """As generate() wants them: padding in front, and a mask."""
    ids, mask = _pad_left(prompts)
    found = _logits(model, ids, attention_mask=mask)
    return [row[-len(p) :] for row, p in zip(found, prompts, strict=True)]


def in_steps(model: Any, prompts: Prompts) -> list[np.ndarray]:
    """The first half at once, the rest token by token through the cache."""
    return [_in_steps(model, torch.from_numpy(p)[None]) for p in prompts]


def differing_tokens(model: Any, prompts: Prompts) -> int:
    """Tokens of a greedy, cached, left-padded batch that repeated whole forwards do not choose."""
    batch = _generate(model, prompts, do_sample=False)
    return sum(
        int((made != _argmax_tokens(model, p)).sum())
        for made, p in zip(batch, prompts, strict=True)
    )


def differing_when_sampled(model: Any, prompts: Prompts) -> int:
    """Sampled tokens that depend on whether keys and values are kept."""
    runs = []
    for use_cache in (True, False):
        torch.manual_seed(7)
        runs.append(_generate(model, prompts, do_sample=True, top_k=0, use_cache=use_cache))
    return int((runs[0] != runs[1]).sum())


def differing_with_fixed_cache(model: Any, prompts: Prompts) -> int:
    """Greedy tokens that depend on the kind of cache."""
    fixed = _generate(model, prompts, do_sample=False, cache_implementation="static")
    return int((fixed != _generate(model, prompts, do_sample=False)).sum())


def unlike(model: Any, prompts: Prompts, continued: np.ndarray) -> float:
    """Share of the tokens that follow each prompt which the model would not choose itself."""
    wrong = []
    for prompt, tokens in zip(prompts, continued, strict=True):
        found = one_by_one(model, [np.concatenate([prompt, tokens[:-1]])])[0]
        wrong.append(found[len(prompt) - 1 :].argmax(-1) != tokens)
    return float(np.mean(wrong))


def _logits(model: Any, ids: torch.Tensor, **options: Any) -> np.ndarray:
    return model(input_ids=ids, **options).logits.float().numpy()


def _pad_left(prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask; a padding token that is part of a prompt is not masked here."""
    width = max(map(len, prompts))
    ids = np.stack([np.pad(p, (width - len(p), 0), constant_values=PAD) for p in prompts])
    mask = np.stack([np.arange(width) >= width - len(p) for p in prompts])
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


def _in_steps(model: Any, ids: torch.Tensor) -> np.ndarray:
    half = max(1, ids.shape[1] // 2)
    shown = (ids != PAD).long()
    found, cache = [], None
    for start, stop in [(0, half), *((n, n + 1) for n in range(half, ids.shape[1]))]:
        out = model(
            input_ids=ids[:, start:stop],
            attention_mask=shown[:, :stop],
            past_key_values=cache,
            use_cache=True,
        )
        cache = out[1]  # by position: its name depends on the version
        found.append(out.logits[0].float().numpy())
    return np.concatenate(found)


def _generate(model: Any, prompts: Prompts, **options: Any) -> np.ndarray:
    """New tokens `i[prompts, NEW_TOKENS]` of one left-padded batch."""
    ids, mask = _pad_left(prompts)
    model.generation_config.eos_token_id = None  # every row as long as the others
    made = model.generate(ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, **options)
    return made[:, ids.shape[1] :].numpy()


def _argmax_tokens(model: Any, prompt: np.ndarray) -> np.ndarray:
    tokens = prompt
    for _ in range(NEW_TOKENS):
        best = one_by_one(model, [tokens])[0][-1].argmax()
        tokens = np.append(tokens, best)
    return tokens[len(prompt) :]
