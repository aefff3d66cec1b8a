"""The blocks, activations and caps that networks are made of here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.models.family import Family

_BLOCKS = ("attention", "experts")
_ACTIVATIONS = ("gelu_tanh",)
_CAPS = ("attention",)


def refuse_unknown_parts(family: Family) -> None:
    """Refuse a network that cannot be computed as its family's reference computes it.

    Raises:
        GrokpackError: GP345 with the parts that do not run here.
    """
    unknown = list(_unknown(family))
    if unknown:
        what = f"the network of {family.title} has parts that are not computed here"
        raise GrokpackError("GP345", what, None, tuple(("part", text) for text in unknown))


def _unknown(family: Family) -> Iterator[str]:
    network = family.network
    yield from (f"block {name}" for name in network.blocks if name not in _BLOCKS)
    if network.activation not in _ACTIVATIONS:
        yield f"activation {network.activation}"
    yield from (f"cap of {name} logits" for name in network.caps if name not in _CAPS)
