"""Evaluation of one network on some tokens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from grokpack.checkpoint.open_checkpoint import opened
from grokpack.core.events import Finished, Started
from grokpack.evaluation.evaluation_options import EvaluateOptions, cost, networks
from grokpack.evaluation.input_tokens import inputs_of
from grokpack.evaluation.network.layer import PassOptions, ignore_inputs
from grokpack.evaluation.network.logit_scores import Scores
from grokpack.evaluation.results import Evaluation, LayerFacts, LayerWatch, loss_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.paths import StrPath
    from grokpack.evaluation.input_tokens import Inputs
    from grokpack.evaluation.network.batch import Batch
    from grokpack.evaluation.network.forward_pass import Network
    from grokpack.evaluation.network.gated_mlp import InputWatch

    Keep = Callable[[int, np.ndarray], None]


def evaluate(
    checkpoint: Checkpoint | StrPath,
    inputs: Inputs | np.ndarray,
    options: EvaluateOptions | None = None,
    keep: Keep | None = None,
    watch: Callable[[int], InputWatch] | None = None,
) -> Evaluation:
    """Run a checkpoint's network over tokens and score what it predicts.

    Args:
        checkpoint: A checkpoint of any format, or its path.
        inputs: Sequences of tokens, with the token that follows each; or ids, `i[T]` or `i[N, T]`.
        options: Options of the run.
        keep: Called with logits: `(first token of the vocabulary, f32[T, block])`.
        watch: Returns for a layer the function to call with the inputs of its matrices.

    Raises:
        GrokpackError: GP211, GP312, GP341, GP342 for what are no tokens, and errors of reading.
    """
    options, checkpoint, inputs = (
        options or EvaluateOptions(),
        opened(checkpoint),
        inputs_of(inputs),
    )
    batch, began = inputs.batch, time.monotonic()
    options.listen(Started("evaluate", cost(checkpoint, batch.size, options).read_bytes))
    with networks([checkpoint], batch.size, options) as (network,):
        h = network.embed(batch)
        layers = [_layer(network, n, h, batch, watch) for n in range(len(network.layers))]
        scores = Scores(inputs.targets)
        x = network.normed(h)
        for first, logits in network.logits(x):
            scores.add(first, logits)
            if keep is not None:
                keep(first, logits)
        read = network.stream.read_bytes
    seconds = time.monotonic() - began
    options.listen(Finished("evaluate", seconds))
    losses = scores.losses
    return Evaluation(loss_of(scores), losses, tuple(layers), batch.size, read, seconds)


def _layer(
    network: Network,
    number: int,
    h: np.ndarray,
    batch: Batch,
    watch: Callable[[int], InputWatch] | None,
) -> LayerFacts:
    facts = LayerWatch(h, network.allocate)
    own = ignore_inputs if watch is None else watch(number)
    routing = network.step(number, h, batch, PassOptions(watch=own, between=facts.between))
    return facts.after(number, h, routing, network.geometry.experts)
