"""Answer of `inspect --fit`: what a model takes on devices, in each format that serves it."""

from typing import Literal

from typing_extensions import TypedDict

from grokpack.core.documents.answer_json import Count, Positive


class DeviceLoadJson(TypedDict):
    """Load of the fullest of some devices, in bytes."""

    width: Positive
    """Number of devices that share the model."""
    experts: Count
    """Of the experts' weights."""
    others: Count
    """Of all other weights."""
    cache: Count
    """Of keys and values."""
    left: int
    """Bytes free beside these and the reserve; negative where it does not fit."""
    command: str | None
    """Command that writes the format for so many devices; null for the source as it is."""


class FormatFitJson(TypedDict):
    """A format, and what it takes on each number of devices that can share it."""

    format: str
    """`int8`, `q4_k_m`, `as it is` and others."""
    program: str
    """Program that serves it; empty where none is known to."""
    exact: bool
    """True if it keeps the source's weights, or bfloat16 of them as xAI's code has them."""
    split: Literal["tensors", "layers"]
    """How devices share it: each has a slice of every matrix, or layers of its own."""
    bytes: Count
    """Of all weights."""
    loads: list[DeviceLoadJson]


class BestFitJson(TypedDict):
    """Format of one program that loses least of those that fit."""

    program: str
    format: str
    width: Positive
    command: str | None


class FitJson(TypedDict):
    """Fit of a model on devices."""

    devices: Positive
    device_bytes: Positive
    """Memory of each."""
    reserve_bytes: Count
    """Of each, for activations and the program itself."""
    context: Positive
    """Tokens of a sequence."""
    batch: Positive
    """Sequences at a time."""
    cache_bytes: Count
    """Of keys and values of all these tokens, in 16 bits."""
    formats: list[FormatFitJson]
    best: list[BestFitJson]
    """For each program, where any format fits."""
