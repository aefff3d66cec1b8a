"""Options of an evaluation (threads, memory, precision) and its cost."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.core import blas_threads
from grokpack.core.errors import TooLittleMemory
from grokpack.core.events import Advanced, Listener, ignore_event
from grokpack.evaluation.config_comparison import refuse_other_network
from grokpack.evaluation.network.forward_pass import Network, NetworkSettings, allocate_in_memory
from grokpack.evaluation.network.matrix_products import Lanes
from grokpack.evaluation.network.precision import Name, Precision
from grokpack.kernels.compilation import telling_of_compilation
from grokpack.kernels.dispatch import choose_implementation
from grokpack.storage.reading_threads import threads as useful_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec
    from grokpack.models.architecture import Geometry
    from grokpack.models.family import Family, Gelu

MEMORY_BYTES = 2 << 30
"""Default limit of resident memory for `evaluate` and `generate`."""
_FIXED_BYTES = 1 << 30
"""Interpreter, kernels, bands in flight and in use, an expert's inner activations, logits: 630 MB
were measured for a layer of Grok-1's width and 512 tokens."""
_F32 = 4


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Options of an evaluation.

    Attributes:
        precision: `f32`, or `bf16` for the reference's.
        layers: Number of layers to run, from the first; None for all.
        workers: Number of threads; None for as many as are useful.
        memory_bytes: Limit of resident memory; activations that do not fit go to disk.
        listen: Receives progress.
        gelu: Form of GELU, `erf` or `tanh`; None for that of the checkpoint's family.
    """

    precision: Name = "f32"
    layers: int | None = None
    workers: int | None = None
    memory_bytes: int = MEMORY_BYTES
    listen: Listener = ignore_event
    gelu: Gelu | None = None

    def gelu_of(self, family: Family) -> Gelu:
        """Return the form of GELU with which a network of a family runs."""
        return self.gelu or family.network.gelu


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of an evaluation.

    Attributes:
        read_bytes: Bytes of weights, if every expert is chosen by some token.
        flops: Operations in products of matrices; a multiplication and an addition count as two.
        spilled_bytes: Bytes of activations that will be on disk.
    """

    read_bytes: int
    flops: int
    spilled_bytes: int


def cost(
    checkpoint: Checkpoint,
    tokens: int,
    options: EvaluateOptions,
    streams: int = 1,
    *,
    cached: bool = False,
    whole: bool = False,
) -> Cost:
    """Predict the cost of an evaluation of `tokens` tokens.

    Args:
        checkpoint: The checkpoint.
        tokens: Number of tokens in all sequences.
        options: Options of the run.
        streams: Residual streams that are held at a time; `pair_evaluation.STREAMS` where weights
            are compared.
        cached: True if every layer caches keys and values of all tokens, as in generation.
        whole: True if weights are compared, so that all tensors are read whole.
    """
    geometry, by_name = checkpoint.geometry, checkpoint.model.by_name()
    wanted = options.layers or geometry.layers
    read, flops = 0, 2 * tokens * geometry.vocab * geometry.d_model
    tensors = checkpoint.tensors if whole else streamed_tensors(checkpoint)
    for name, tensor in tensors.items():
        layer = by_name[name].layer
        if layer is not None and layer >= wanted:
            continue
        read += tensor.nbytes
        if layer is not None and len(tensor.values.shape) > 1:
            used = tensor.values.elements
            if by_name[name].rule.stacked:
                used = used * checkpoint.model.selected_experts // geometry.experts
            flops += 2 * tokens * used
    needed = _activation_bytes(geometry, tokens * streams)
    needed += cached * wanted * _kv_cache_bytes(geometry, tokens)
    spilled = needed if needed > options.memory_bytes - _FIXED_BYTES else 0
    return Cost(read, flops, spilled)


def streamed_tensors(checkpoint: Checkpoint) -> dict[str, TensorSpec]:
    """Return the tensors that one network reads whole: all but an embedding that is no head."""
    model, tensors = checkpoint.model, dict(checkpoint.tensors)
    if not model.family.tied:
        del tensors[model.tensor("embedding").name]
    return tensors


def _activation_bytes(geometry: Geometry, tokens: int) -> int:
    """Count the bytes of activations: residual stream, norm, addend, queries, keys, values."""
    return _F32 * tokens * (3 * geometry.d_model + geometry.q_width + 2 * geometry.kv_width)


def _kv_cache_bytes(geometry: Geometry, tokens: int) -> int:
    """Count the bytes of one layer's key/value cache."""
    return _F32 * tokens * 2 * geometry.kv_width


@contextmanager
def networks(
    checkpoints: list[Checkpoint],
    tokens: int,
    options: EvaluateOptions,
    streams: int = 1,
    *,
    cached: bool = False,
    sharing: bool = False,
) -> Iterator[list[Network]]:
    """Open networks that share threads, with room for `tokens` tokens.

    Args:
        checkpoints: The checkpoint of each.
        tokens: Number of tokens in all sequences.
        options: Options of the run.
        streams: Residual streams that are held at a time.
        cached: True if every layer caches keys and values of all tokens.
        sharing: True if they share the memory for bands and logits that each of two has.

    Raises:
        GrokpackError: GP345 where a config asks for another network, GP312 where the memory
            allowed is too little; what `Network` raises.
    """
    refuse_other_network(*checkpoints)
    if options.memory_bytes < _FIXED_BYTES:
        hint = "give `--memory 1GiB` or more"
        raise TooLittleMemory("the network needs 1 GiB to run in", hint=hint)
    costs = [cost(c, tokens, options, streams, cached=cached) for c in checkpoints]
    widened = _F32 if len(checkpoints) > 1 else 1  # two networks' weights are compared as float32
    implementation = choose_implementation(widened * sum(one.read_bytes for one in costs))
    count = options.workers or max(useful_threads(c.folder) for c in checkpoints)
    with ExitStack() as held:
        held.enter_context(blas_threads.one_thread())
        held.enter_context(np.errstate(over="ignore", invalid="ignore"))  # as lanes do
        held.enter_context(telling_of_compilation(implementation, options.listen))
        lanes = Lanes(count, Precision(options.precision), implementation)
        held.callback(lanes.close)
        allocate = _on_disk if any(one.spilled_bytes for one in costs) else allocate_in_memory
        made = []
        for checkpoint in checkpoints:
            settings = NetworkSettings(
                lanes,
                options.gelu_of(checkpoint.model.family),
                implementation,
                options.layers,
                allocate,
                _advances(options.listen),
                len(checkpoints) if sharing else 1,
            )
            made.append(Network(checkpoint, settings))
            held.callback(made[-1].close)
        yield made


def _advances(listen: Listener) -> Callable[[int], None]:
    return lambda nbytes: listen(Advanced(nbytes))


def _on_disk(rows: int, columns: int) -> np.ndarray:
    """Map activations to an unnamed file, so that the system can write them out."""
    if not rows:  # an expert without a token
        return allocate_in_memory(rows, columns)
    pages = storage.scratch_memory(math.prod((rows, columns, _F32)))
    return np.frombuffer(pages, np.float32).reshape(rows, columns)
