"""Elementwise operations of the network on `f32[...]`, each as in xAI's model.py."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.evaluation.network.precision import Precision
    from grokpack.models.family import Gelu

_ROWS = 64  # normalized at a time
_GELU_LINEAR = np.float32(math.sqrt(2 / math.pi))
_GELU_CUBIC = np.float32(0.044715)
_GELU_ERF = np.float32(math.sqrt(1 / 2))
_ERF_IS_ONE = 4.0  # to float32's precision, from here on
_ERF_NUMERATOR = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_DENOMINATOR = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)
MASKED = np.float32(-1e30)
"""Logit of a masked key; model.py, MultiHeadAttention."""


def rms_norm(
    x: np.ndarray, scale: np.ndarray, eps: float, precision: Precision, out: np.ndarray
) -> np.ndarray:
    """Divide `x f32[T, d]` by its root mean square, and multiply it by `scale f32[d]`.

    Args:
        x: Activations, which stay unchanged unless `out` is the same array.
        scale: Factor of each feature; one is not added to it.
        eps: Number that is added to the mean square.
        precision: Precision to which the result is rounded.
        out: Array for the result, `f32[T, d]`.
    """
    for first in range(0, len(x), _ROWS):
        part = x[first : first + _ROWS]
        square = np.mean(np.square(part), axis=-1, keepdims=True)
        made = out[first : first + _ROWS]
        np.multiply(part, 1 / np.sqrt(square + np.float32(eps)), out=made)
        made *= scale
        precision.settle(made)
    return out


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """Apply GELU in its tanh form, in place: jax.nn.gelu by default."""
    inner = np.square(x)
    inner *= x
    inner *= _GELU_CUBIC
    inner += x
    inner *= _GELU_LINEAR
    np.tanh(inner, out=inner)
    inner += 1
    x *= inner
    x *= np.float32(0.5)
    return x


def gelu_erf(x: np.ndarray) -> np.ndarray:
    """Apply GELU by the error function, in place."""
    factor = _erf(x * _GELU_ERF)
    factor += 1
    x *= factor
    x *= np.float32(0.5)
    return x


def _erf(x: np.ndarray) -> np.ndarray:
    """Approximate the error function of `f32[...]` to 5e-7, as Eigen does, in place."""
    np.clip(x, -_ERF_IS_ONE, _ERF_IS_ONE, out=x)
    square = np.square(x)
    x *= _polynomial(_ERF_NUMERATOR, square)
    x /= _polynomial(_ERF_DENOMINATOR, square)
    return x


def _polynomial(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """Evaluate a polynomial, given its coefficients from the highest power down."""
    made = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        made *= x
        made += np.float32(coefficient)
    return made


GELUS: dict[Gelu, Callable[[np.ndarray], np.ndarray]] = {
    "erf": gelu_erf,
    "tanh": gelu_tanh,
}
"""Nonlinearity of gated MLPs by its form, applied in place."""


def soft_cap(logits: np.ndarray, cap: float) -> np.ndarray:
    """Compute `cap * tanh(logits / cap)` in place; a cap of zero is none."""
    if cap > 0:
        logits *= np.float32(1 / cap)
        np.tanh(logits, out=logits)
        logits *= np.float32(cap)
    return logits


def attention_temperatures(positions: np.ndarray, context: int) -> np.ndarray:
    """Compute the factor of each query's attention logits, `f32[T]`: 1 up to `context`.

    Beyond that position the factor grows with the logarithm of the position, so that attention over
    more keys stays as sharp.

    Args:
        positions: Positions of the queries in their sequences, `i[T]`.
        context: The last position without a factor, at least 2.
    """
    factors: np.ndarray = np.log(np.maximum(positions, context)) / np.log(context)
    return factors.astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Compute softmax along the last axis, in place."""
    logits -= logits.max(axis=-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-1, keepdims=True)
    return logits


def rope_cos_sin(
    positions: np.ndarray, head_dim: int, theta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute cosines and sines of RoPE, `f32[T, head_dim / 2]` each.

    Args:
        positions: Positions of the tokens in their sequences, `i[T]`.
        head_dim: Size of a head.
        theta: Base of the frequencies, 10,000 in the reference.
    """
    half = head_dim // 2
    frequencies = 1.0 / np.float64(theta) ** (np.arange(half) / half)
    phases = np.outer(positions.astype(np.float32), frequencies.astype(np.float32))
    return np.cos(phases), np.sin(phases)


def apply_rope(x: np.ndarray, cosines: np.ndarray, sines: np.ndarray) -> np.ndarray:
    """Apply RoPE to `x f32[T, head, head_dim]` in place: feature i turns with i + head_dim / 2."""
    half = x.shape[-1] // 2
    first, second = x[..., :half].copy(), x[..., half:]
    cos, sin = cosines[:, None, :], sines[:, None, :]
    x[..., :half] = first * cos - second * sin
    second *= cos
    second += first * sin
    return x
