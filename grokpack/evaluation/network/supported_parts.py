"""Check that all parts of a family's network can be computed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError
from grokpack.evaluation.network.experts import EXPERT
from grokpack.evaluation.network.layer import DENSE, KEY, NORMS, OUTPUT, QUERY, ROUTER, VALUE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.models.architecture import NetworkPart
    from grokpack.models.family import Family

_REQUIRED: frozenset[NetworkPart] = frozenset(
    ("embedding", "final_norm", *NORMS, QUERY, KEY, VALUE, OUTPUT, ROUTER, *EXPERT)
)
_OPTIONAL: frozenset[NetworkPart] = frozenset(("head", *DENSE))


def refuse_unknown_parts(family: Family) -> None:
    """Refuse a network that cannot be computed as its family's reference computes it.

    Raises:
        GrokpackError: GP345 with the parts that cannot be computed, and those that are missing.
    """
    wrong = tuple(_unlike({rule.part for rule in family.rules}))
    if wrong:
        what = f"the network of {family.title} is made of other parts than those computed here"
        raise GrokpackError("GP345", what, None, wrong)


def _unlike(parts: set[NetworkPart]) -> Iterator[tuple[str, str]]:
    yield from (("not computed", part) for part in sorted(parts - _REQUIRED - _OPTIONAL))
    required = _REQUIRED | (set(DENSE) if parts & set(DENSE) else set())
    yield from (("missing", part) for part in sorted(required - parts))
