"""Descriptions of transforms, from which the digest of a plan is computed."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import ClassVar

from grokpack.transforms.scheme import QuantizationScheme


class Described:
    """Base of transforms that are described by an operation and the fields of their dataclass.

    A transform that leaves a field out, or lists fields in another order, describes itself: digests
    of plans must stay as they are, or unfinished runs could not continue.

    Attributes:
        operation: Name of the operation, the same in every version.
    """

    __slots__ = ()
    operation: ClassVar[str]

    def describe(self) -> list[object]:
        """Return the operation and the values of all fields, as JSON."""
        values = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        return [self.operation, *map(_as_json, values)]


def _as_json(value: object) -> object:
    """Convert a field's value; a tensor stands by its name."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, QuantizationScheme):
        return value.describe()
    return getattr(value, "name", value)
