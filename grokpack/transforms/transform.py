"""Base of all transforms: what they are made from, and their description for a plan's digest."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from grokpack.core.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.core.tensors import Shape


class Transform:
    """Base of dataclasses that make arrays from other arrays, which their fields name.

    A transform that leaves a field out of its description, or lists fields in another order,
    describes itself: digests of plans must stay as they are, or unfinished runs could not continue.

    Attributes:
        operation: Name of the operation, the same in every version.
        quantizes: True if it chooses scales.
        caches_scales: True if scales found for one array are kept for others.
    """

    __slots__ = ()
    operation: ClassVar[str]
    quantizes: ClassVar[bool] = False
    caches_scales: ClassVar[bool] = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays that it may read: field `array`, and those of tensors and arrays."""
        own = (_array_names(field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        return tuple(dict.fromkeys(name for names in own for name in names))

    @property
    def decodes(self) -> bool:
        """False, unless the files hold the array encoded, in chunks of its own."""
        return False

    def locate(self, index: Shape) -> str | None:  # noqa: ARG002  # for those that know
        """Return the file that holds an element; None if not known."""
        return None

    def trace(self, index: Shape) -> tuple[str, Shape] | None:  # noqa: ARG002  # likewise
        """Return the array that an element comes from, and its index there; None if not known."""
        return None

    def describe(self) -> list[object]:
        """Return the operation and the values of all fields, as JSON."""
        values = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        return [self.operation, *map(_as_json, values)]


def _array_names(field: str, value: object) -> Iterable[str]:
    """Return the names of the arrays that a field's value stands for."""
    if isinstance(value, str):
        return [value] if field == "array" else []
    if isinstance(value, tuple):
        return [name for one in value for name in _array_names(field, one)]
    if isinstance(value, TensorSpec):
        return value.arrays()
    inputs: tuple[str, ...] = getattr(value, "inputs", ())
    return inputs


def _as_json(value: object) -> object:
    """Convert a field's value; a tensor stands by its name."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_as_json(one) for one in value]
    describe = getattr(value, "describe", None)
    return describe() if describe else getattr(value, "name", value)
