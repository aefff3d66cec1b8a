"""Forward pass of the whole network: from tokens to logits, reading each weight once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.evaluation.network import matrices, supported_parts
from grokpack.evaluation.network.arithmetic import rms_norm, soft_cap
from grokpack.evaluation.network.attention import Attention, Heads, KVCache, empty_kv_cache
from grokpack.evaluation.network.layer import Layer, LayerContext, PassOptions
from grokpack.evaluation.network.matrices import Matrix, matrix
from grokpack.evaluation.network.matrix_products import Product
from grokpack.evaluation.network.weight_stream import Stream
from grokpack.models import hyperparameters
from grokpack.models.config_json import unknown_head_size

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec
    from grokpack.evaluation.network.batch import Batch
    from grokpack.evaluation.network.experts import Allocate, Routing
    from grokpack.evaluation.network.matrix_products import Lanes
    from grokpack.evaluation.network.precision import Precision
    from grokpack.kernels.dispatch import Implementation
    from grokpack.models.architecture import Constants, Geometry, NetworkPart
    from grokpack.models.family import Gelu

EMBEDDING: NetworkPart = "embedding"
FINAL_NORM: NetworkPart = "final_norm"
HEAD: NetworkPart = "head"
_NO_OPTIONS = PassOptions()
_HEAD_BYTES = 64 << 20  # of a block of logits
_HEAD_ROWS = 16384  # largest number of tokens of the vocabulary in a block
_AHEAD_BYTES = 128 << 20  # bands that wait: one is taken while others are read


def _ignore_bytes(_nbytes: int) -> None:
    """Ignore progress."""


def allocate_in_memory(rows: int, columns: int) -> np.ndarray:
    """Make an empty array of activations, `f32[rows, columns]`."""
    made: np.ndarray = np.empty((rows, columns), np.float32)
    return made


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Settings of a network's run.

    Attributes:
        lanes: Threads that multiply, with their precision; networks may share them.
        gelu: Form of GELU.
        implementation: Implementation of each kernel.
        layers: Number of layers to run; None for all.
        allocate: Makes arrays of activations, `f32[rows, columns]`; memory by default.
        advance: Called with the number of bytes of weights that were used.
        sharing: Number of networks that share the memory for bands and for a block of logits.
    """

    lanes: Lanes
    gelu: Gelu
    implementation: Implementation = "numpy"
    layers: int | None = None
    allocate: Allocate = allocate_in_memory
    advance: Callable[[int], None] = _ignore_bytes
    sharing: int = 1


class Network:
    """Network of one checkpoint, driven by one thread.

    Attributes:
        geometry: Dimensions of the network.
        constants: Its constants.
        precision: Precision of its arithmetic.
        stream: Stream of its weights.
        layers: The layers that run.
        allocate: Makes empty arrays of activations, `f32[rows, columns]`.
        lanes: Threads that multiply.

    Args:
        checkpoint: Checkpoint of any format with its weights.
        settings: Settings of the run.

    Raises:
        GrokpackError: GP211 where the head size is not known; GP345 for a family whose
            network has parts that do not run here; GP202 where tensors are missing.
    """

    def __init__(self, checkpoint: Checkpoint, settings: NetworkSettings) -> None:
        geometry = checkpoint.geometry
        if geometry.head_dim is None:
            raise unknown_head_size(checkpoint.model.family)
        family = checkpoint.model.family
        supported_parts.refuse_unknown_parts(family)
        self.geometry: Geometry = geometry
        self.constants: Constants = hyperparameters.read(checkpoint.config, checkpoint.model)
        self.precision: Precision = settings.lanes.precision
        self.stream = Stream(
            checkpoint,
            max(1, _AHEAD_BYTES // matrices.BAND_BYTES // settings.sharing),
            settings.implementation,
            settings.advance,
        )
        self.allocate = settings.allocate
        self.lanes = settings.lanes
        self._tensors = _by_layer(checkpoint)
        self._heads = _heads(geometry)
        masked = hyperparameters.masked_token(checkpoint.config, checkpoint.model)
        attention = Attention(self._heads, self.constants, masked, self.precision, settings.lanes)
        architecture = replace(family.network, gelu=settings.gelu)
        context = LayerContext(
            architecture, self.constants, self.stream, settings.lanes, attention, settings.allocate
        )
        count = min(settings.layers or geometry.layers, geometry.layers)
        self.layers = [Layer(n, self._tensors[n], context) for n in range(count)]
        self._head: list[Matrix] = []
        self._head_bytes = _HEAD_BYTES // settings.sharing

    def close(self) -> None:
        """Stop reading."""
        self.stream.close()

    def embed(self, batch: Batch) -> np.ndarray:
        """Compute the residual stream before the first layer, `f32[T, d]`.

        Each needed row of the embedding is read once.

        Raises:
            GrokpackError: GP341 for a token that the vocabulary does not have.
        """
        tensor = self._tensors[None][EMBEDDING]
        vocab, width = tensor.values.shape
        wanted, counts = np.unique(batch.tokens, return_counts=True)
        if wanted[0] < 0 or wanted[-1] >= vocab:
            wrong = wanted[0] if wanted[0] < 0 else wanted[-1]
            raise GrokpackError("GP341", f"token {wrong} is not in a vocabulary of {vocab}")
        h = self.allocate(batch.size, width)
        factor = self.precision.constant(self.constants.embedding_multiplier)
        places = np.split(np.argsort(batch.tokens, kind="stable"), np.cumsum(counts)[:-1])
        for token, own in zip(wanted, places, strict=True):
            row = self.stream.values(tensor, Box((int(token), 0), (1, width)))[0]
            row = self.precision.settle(np.array(row)) * factor
            h[own] = self.precision.settle(row)
        return h

    def kv_caches(self, lengths: Sequence[int]) -> list[KVCache]:
        """Make empty key/value caches for all layers, for sequences of up to these lengths."""
        width = self._heads.kv * self._heads.size
        return [empty_kv_cache(lengths, width, self.allocate) for _ in self.layers]

    def step(
        self,
        number: int,
        h: np.ndarray,
        batch: Batch,
        options: PassOptions = _NO_OPTIONS,
    ) -> Routing:
        """Pass the residual stream through a layer, in place; layers run in their order.

        Args:
            number: The layer.
            h: `f32[T, d]`.
            batch: The sequences.
            options: Cache and callbacks.
        """
        steps = self.products(number, h, batch, options)
        while True:
            try:
                self._multiply(next(steps))
            except StopIteration as end:
                routing: Routing = end.value
                return routing

    def products(
        self, number: int, h: np.ndarray, batch: Batch, options: PassOptions = _NO_OPTIONS
    ) -> Generator[Product, None, Routing]:
        """Run a layer like `step`, for a caller that computes the products itself."""
        if number == 0:
            self._begin(batch.size)
        last = number + 1 == len(self.layers)
        after = self._head if last else self.layers[number + 1].first_wanted()
        return self.layers[number].run(h, batch, after, options)

    def _multiply(self, product: Product) -> None:
        self.lanes.multiply(product.x, product.bands(self.stream), product.out)

    def normed(self, h: np.ndarray) -> np.ndarray:
        """Apply the last norm to the stream `f32[T, d]`, in place."""
        scale = self.stream.whole(self._tensors[None][FINAL_NORM])
        return rms_norm(h, scale, self.constants.rms_norm_eps, self.precision, h)

    def logits(self, x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield logits by block of the vocabulary, as `(first token, f32[T, block])`.

        Args:
            x: What `normed` returned, or as many rows of it as the network began with, or fewer.
        """
        for product in self.head_products(x):
            self._multiply(product)
            yield product.matrix.inputs[0], self.scaled(product.out)

    def head_products(self, x: np.ndarray) -> Iterator[Product]:
        """Yield the products of `logits` by block, for a caller that computes them itself."""
        for block in self._head:
            made = np.zeros((len(x), block.rows), np.float32)
            yield Product(x, block, made, transposed=True)
        self._head = []

    def embedding_products(self) -> Iterator[Product]:
        """Yield products without tokens for an embedding that is not the head, to compare it.

        They follow those of the head.
        """
        own = self._tensors[None]
        if HEAD not in own:
            return
        blocks = _blocks(own[EMBEDDING], _HEAD_ROWS)
        self.stream.announce(blocks)
        for block in blocks:
            x, made = (np.zeros((0, size), np.float32) for size in (block.columns, block.rows))
            yield Product(x, block, made, transposed=True)

    def scaled(self, logits: np.ndarray) -> np.ndarray:
        """Turn the products `f32[T, block]` of `head_products` into logits, in place."""
        factor = self.precision.constant(self.constants.output_multiplier)
        self.precision.settle(logits)
        logits *= factor
        soft_cap(logits, self.constants.final_logit_cap)
        return self.precision.settle(logits)

    def _begin(self, tokens: int) -> None:
        own = self._tensors[None]
        step = max(1024, min(_HEAD_ROWS, self._head_bytes // (4 * tokens)))
        self._head = _blocks(own.get(HEAD, own[EMBEDDING]), step)
        first = self.layers[0].first_wanted() if self.layers else self._head
        self.stream.announce(first)


def _blocks(tensor: TensorSpec, step: int) -> list[Matrix]:
    """Cut an embedding or a head into blocks of the vocabulary."""
    vocab = tensor.values.shape[0]
    return [
        matrix(tensor, inputs=(first, min(first + step, vocab))) for first in range(0, vocab, step)
    ]


def _by_layer(checkpoint: Checkpoint) -> dict[int | None, dict[NetworkPart, TensorSpec]]:
    """Group tensors by layer and part; those of no layer are under None."""
    found: dict[int | None, dict[NetworkPart, TensorSpec]] = {}
    for entry in checkpoint.model.tensors():
        found.setdefault(entry.layer, {})[entry.rule.part] = checkpoint.tensors[entry.name]
    return found


def _heads(geometry: Geometry) -> Heads:
    assert geometry.head_dim is not None  # noqa: S101  # the caller has seen to it
    size = geometry.head_dim
    return Heads(geometry.q_width // size, geometry.kv_width // size, size)
