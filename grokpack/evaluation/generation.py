"""Generation: tokens that continue prompts, each from one pass over the weights."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.checkpoint.open_checkpoint import opened
from grokpack.core.errors import GrokpackError
from grokpack.core.events import Finished, Started
from grokpack.evaluation.evaluation_options import EvaluateOptions, networks, streamed_tensors
from grokpack.evaluation.input_tokens import prompts_of
from grokpack.evaluation.network.batch import Batch, batch
from grokpack.evaluation.network.layer import PassOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.paths import StrPath
    from grokpack.evaluation.network.attention import KVCache
    from grokpack.evaluation.network.forward_pass import Network
    from grokpack.models.family import Model


@dataclass(frozen=True, slots=True)
class Sampling:
    """Options of choosing the next token.

    Attributes:
        temperature: Divisor of the logits; 0 to take the likeliest token.
        top_p: Total probability of the likeliest tokens among which one is drawn.
        seed: Seed of the draw.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """Generated tokens.

    Attributes:
        tokens: Tokens that continue each prompt, without the end of a sequence.
        ended: Whether each sequence came to its end by itself.
        read_bytes: Bytes of weights that were read.
        first_s: Wall time until the first token of each, which takes one pass over the prompts.
        seconds: Wall time in all.
    """

    tokens: tuple[tuple[int, ...], ...]
    ended: tuple[bool, ...]
    read_bytes: int
    first_s: float
    seconds: float


def generate(
    checkpoint: Checkpoint | StrPath,
    prompts: Sequence[np.ndarray] | np.ndarray,
    count: int,
    sampling: Sampling | None = None,
    options: EvaluateOptions | None = None,
    said: Callable[[int, int], None] | None = None,
    stops: Collection[int] = (),
) -> Generation:
    """Continue prompts, all with the same passes over the weights.

    Args:
        checkpoint: A checkpoint of any format, or its path.
        prompts: Tokens of each prompt, `i[T]`, at least one; an array `i[N, T]` has one in each
            row.
        count: Largest number of tokens to add.
        sampling: How tokens are chosen; the likeliest by default.
        options: Options of the run.
        said: Called with each token as it is chosen: the prompt's number, the token.
        stops: Tokens that end a sequence; none for the one of the model's constants.

    Raises:
        GrokpackError: GP342 for an empty prompt or what are no tokens; GP120 where the network
            gives no numbers; GP211, GP312, GP341, and errors of reading.
    """
    options, checkpoint = options or EvaluateOptions(), opened(checkpoint)
    prompts = prompts_of(prompts)
    if not prompts or not all(map(len, prompts)):
        raise GrokpackError("GP342", "a prompt is empty", hint="one token is enough to begin with")
    began = time.monotonic()
    tokens = sum(map(len, prompts)) + count * len(prompts)
    options.listen(Started("generate", count * step_bytes(checkpoint, len(prompts))))
    with networks([checkpoint], tokens, options, cached=True) as (network,):
        ends = frozenset(stops or [network.constants.eos])
        run = _Run(network, prompts, count, sampling or Sampling(), ends)
        first = 0.0
        for number, token in run.tokens():
            first = first or time.monotonic() - began
            if said is not None:
                said(number, token)
        read = network.stream.read_bytes
    seconds = time.monotonic() - began
    options.listen(Finished("generate", seconds))
    made = tuple(tuple(own) for own in run.made)
    return Generation(made, tuple(run.ended), read, first, seconds)


def step_bytes(checkpoint: Checkpoint, sequences: int = 1) -> int:
    """Count the bytes of weights read for one more token of each sequence.

    An expert is read once for all sequences.
    """
    used, by_name = _used_share(checkpoint.model, sequences), checkpoint.model.by_name()
    total = 0.0
    for name, tensor in streamed_tensors(checkpoint).items():
        total += tensor.nbytes * (used if by_name[name].rule.stacked else 1)
    return round(total)


def _used_share(model: Model, sequences: int) -> float:
    """Estimate the share of experts that are chosen, as if each token chose at random."""
    by_role = model.parameters()
    experts = by_role.by_role.get("expert", 0)
    one = 1 - (by_role.total - by_role.active) / experts if experts else 1.0
    return float(1 - (1 - one) ** sequences)


class _Run:
    """Sequences that are being continued."""

    def __init__(
        self,
        network: Network,
        prompts: Sequence[np.ndarray],
        count: int,
        sampling: Sampling,
        ends: frozenset[int],
    ) -> None:
        self._network = network
        self._prompts = [np.asarray(p, np.int64) for p in prompts]
        self._count = count
        self._sampling = sampling
        self._ends = ends
        self._random = np.random.default_rng(sampling.seed)
        self.made: list[list[int]] = [[] for _ in prompts]
        self.ended = [False] * len(prompts)
        self._kv_caches = network.kv_caches([len(p) + count for p in prompts])

    def tokens(self) -> Iterator[tuple[int, int]]:
        """Yield each token as it is chosen, with the number of its prompt."""
        going = list(range(len(self._prompts)))
        fed = batch(self._prompts)
        for _ in range(self._count):
            chosen = self._next(fed, going)
            for number, token in zip(going, chosen, strict=True):
                if token in self._ends:
                    self.ended[number] = True
                    continue
                self.made[number].append(token)
                yield number, token
            going = [n for n in going if not self.ended[n]]
            if not going:
                return
            fed = batch(
                [np.array(self.made[n][-1:]) for n in going],
                tuple(len(self._prompts[n]) + len(self.made[n]) - 1 for n in going),
            )

    def _next(self, fed: Batch, going: list[int]) -> list[int]:
        network = self._network
        h = network.embed(fed)
        for number, cache in enumerate(self._kv_caches):
            network.step(number, h, fed, PassOptions(_of(cache, going)))
        last = np.array([span.stop - 1 for span in fed.spans])
        x = network.normed(h[last])
        logits = np.concatenate([block for _, block in network.logits(x)], axis=1)
        return [choose(row, self._sampling, self._random) for row in logits]


def _of(cache: KVCache, going: list[int]) -> KVCache:
    """Select the cached keys and values of the sequences that continue."""
    kept = ([rows[n] for n in going] for rows in (cache.keys, cache.values, cache.tokens))
    return type(cache)(*kept)


def choose(logits: np.ndarray, sampling: Sampling, random: np.random.Generator) -> int:
    """Choose the next token from its logits `f32[vocab]`.

    Raises:
        GrokpackError: GP120 for logits that are no numbers: any token would be as good.
    """
    if np.isnan(logits).any():
        hint = "`grokpack verify SRC --values` finds weights that are no numbers"
        raise GrokpackError("GP120", "the logits of the next token are no numbers", hint=hint)
    if sampling.temperature == 0:
        return int(logits.argmax())
    scaled = (logits.astype(np.float64) - logits.max()) / sampling.temperature
    weights = np.exp(scaled)
    order = np.argsort(-weights, kind="stable")
    shares = np.cumsum(weights[order]) / weights.sum()
    kept = int(np.searchsorted(shares, sampling.top_p)) + 1  # the one that reaches it as well
    nucleus = order[:kept]
    own = weights[nucleus] / weights[nucleus].sum()
    return int(random.choice(nucleus, p=own))
