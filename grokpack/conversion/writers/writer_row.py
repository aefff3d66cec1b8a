"""Rows of the tables of writers, which each writer declares beside its code."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from grokpack.core.errors import UnusableValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.bit_allocation import Unit
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.writers.scale_groups import Scales
    from grokpack.planning.target import Target


Options = TypeVar("Options")
_OptionsRead_co = TypeVar("_OptionsRead_co", covariant=True)


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Options of a writer that has none."""


@dataclass(frozen=True, slots=True)
class Writer(Generic[Options]):
    """Row of a format that `convert` writes.

    Attributes:
        name: As `--to` has it.
        title: What the format is and which programs load it.
        options: Dataclass of its options, named as in `ConvertOptions`.
        make: Makes the target.
        suffix: Ending of an output's default name.
        needs_head_size: True if the size of an attention head must be known.
        beside: Returns the usual folder of an output whose contents depend on where it lies; its
            options then have `out`. None for an output that may lie anywhere.
        opens: Returns the TensorStore spec that opens an array of an output in its folder, as an
            example; None where no example is needed.
    """

    name: str
    title: str
    options: type[Options]
    make: Callable[[Checkpoint, Options], Target]
    suffix: Callable[[Options], str]
    needs_head_size: bool = True
    beside: Callable[[Checkpoint], str] | None = None
    opens: Callable[[Checkpoint, str], dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class QuantizingWriter(Generic[Options]):
    """Row of a format that `quantize` writes.

    Attributes:
        name: As `--to` has it.
        title: What the format is and which programs load it.
        bits: Possible bit widths of a weight.
        scheme: Fields of the scheme that the format leaves open: `group`, `importance`, `scales`
            and `symmetric`, named as in `QuantizeOptions`.
        options: Dataclass of its other options, named as in `QuantizeOptions`.
        make: Makes the target.
        suffix: Ending of an output's default name, by bits; None for the usual one.
        units: Returns the weights whose forms can be chosen by size, with these forms; None where
            all weights have one form.
    """

    name: str
    title: str
    bits: tuple[int, ...]
    scheme: frozenset[str]
    options: type[Options]
    make: Callable[[Checkpoint, Policy, Options], Target]
    suffix: Callable[[int, Options], str] | None = None
    units: Callable[[Checkpoint, Policy, Options], list[Unit]] | None = None


@dataclass(frozen=True, slots=True)
class ReshardOptions:
    """Options of `reshard`.

    Attributes:
        tp: Number of tensor-parallel ranks.
        hosts: Number of processes that share a ckpt-0.
        scales: How row-parallel scales are stored.
        forward_only: True to allow a ckpt-0 wider than there are key/value heads.
    """

    tp: int
    hosts: int = 1
    scales: Scales = "auto"
    forward_only: bool = False


@dataclass(frozen=True, slots=True)
class ReshardingWriter:
    """Row of a format that `reshard` writes.

    Attributes:
        name: As `--to` has it.
        title: What the format is and which programs load it.
        make: Makes the target, or refuses the width; None where `convert --tp` makes the plan.
        suffix: Ending of an output's default name, by number of ranks.
    """

    name: str
    title: str
    make: Callable[[Checkpoint, ReshardOptions], Target] | None
    suffix: Callable[[int], str]


_COUNTS = {"tp": "--tp", "shard_bytes": "--shard-size"}
"""Options that are at least 1, and how a command line has them."""


class _HasOptions(Protocol[_OptionsRead_co]):
    @property
    def options(self) -> type[_OptionsRead_co]: ...


def option_names(writer: _HasOptions[Any]) -> frozenset[str]:
    """Return the names of a writer's options."""
    return frozenset(field.name for field in fields(writer.options))


def options_for(writer: _HasOptions[Options], given: object) -> Options:
    """Make a writer's options from those of a command; options not given get its defaults.

    Raises:
        UnusableValue: GP346 for no ranks, and for files of no size.
    """
    for name, flag in _COUNTS.items():
        amount = getattr(given, name, None)
        if amount is not None and amount < 1:
            raise UnusableValue.below(flag, amount, "1")
    values = ((name, getattr(given, name)) for name in option_names(writer))
    return writer.options(**{name: _plain(value) for name, value in values if value is not None})


def _plain(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def suffix_unless_usual(given: str | None, usual: str | None) -> list[str]:
    """List the part of a default name for an option that differs from its default."""
    return [] if given in (None, usual) else [str(given)]
