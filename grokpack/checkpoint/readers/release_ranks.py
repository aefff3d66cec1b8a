"""Number of ranks that a release was cut for, by a manifest, a config and the names of its files.

A rank's files do not show how many others there were. A manifest lists them, and a config gives the
width of an expert, of which each rank has a share; either may be wrong or not there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from grokpack.checkpoint.readers.packed_arrays import weight_of
from grokpack.models import config_json
from grokpack.models.tensor_names import rank_axis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.formats.safetensors import SafetensorsHeader
    from grokpack.models.family import Family
    from grokpack.models.tensor_names import Convention

    Numbered = Mapping[str, tuple[int, int | None]]
    """Numbers of kind and rank, by the name of a file; the rank is None where all share it."""


_PRESHARDED = "load_presharded_moe"
"""Key of configs that tools write beside the files of ranks; the release's lacks it."""


class RankCount(NamedTuple):
    """Number of ranks.

    Attributes:
        total: The number.
        known: True if more than the existing files tells it.
    """

    total: int
    known: bool


def count(
    headers: Mapping[str, SafetensorsHeader],
    numbered: Numbered,
    recorded: Numbered,
    family: Family,
    convention: Convention,
    settings: Mapping[str, Any],
) -> RankCount:
    """Return the number of ranks.

    Args:
        headers: Headers of the release's files.
        numbered: Those that exist, readable or not.
        recorded: Those that a manifest names.
        family: The family of the model.
        convention: The naming convention.
        settings: The config, or nothing.
    """
    released = family.release_layout.ranks
    noted, here = _highest(recorded), _highest(numbered)
    if noted:
        return RankCount(_usual(noted), known=True)
    if not here:
        return RankCount(released, known=True)
    usual = _usual(here)
    as_published = usual == released and _PRESHARDED not in settings
    stated = _stated(headers, family, convention, settings)
    # A config that tells of fewer ranks than there are files of, for each kind, is itself wrong.
    likely = [ranks for ranks in stated if ranks == usual]
    larger = [ranks for ranks in stated if ranks > usual and not as_published]
    if likely or larger:
        return RankCount((likely or larger)[0], known=True)
    if stated or as_published:
        return RankCount(usual, known=True)
    return RankCount(max(here), known=False)


def _stated(
    headers: Mapping[str, SafetensorsHeader],
    family: Family,
    convention: Convention,
    settings: Mapping[str, Any],
) -> list[int]:
    """Return the numbers of ranks by an expert's width in the config, and in the release.

    One that is no multiple of a rank's share is 0.
    """
    share = _share(headers, convention)
    config = config_json.value(settings, family, "ffn")
    widths = [config] if config else []
    widths += [family.release.ffn] if is_release(headers, family, convention) else []
    return [width // share if share and width % share == 0 else 0 for width in widths]


def is_release(
    headers: Mapping[str, SafetensorsHeader], family: Family, convention: Convention
) -> bool:
    """Return whether vocabulary and width are those of the release."""
    name = convention.table["embedding"]
    found = (header.arrays.get(name) for header in headers.values())
    shape = (family.release.vocab, family.release.d_model)
    return any(stored is not None and stored.spec.shape == shape for stored in found)


def _highest(numbered: Numbered) -> list[int]:
    """Return for each kind that ranks share the number of ranks by its highest, in order."""
    held: dict[int, int] = defaultdict(int)
    for number, rank in numbered.values():
        if rank is not None:
            held[number] = max(held[number], 1 + rank)
    return sorted(held.values())


def _usual(highest: list[int]) -> int:
    """Return the number that most kinds have: a copy of one file under a further name counts not.

    Where no two agree it is the largest, because files are missing rather than too many.
    """
    most = max(Counter(highest).values())
    return max(ranks for ranks in highest if highest.count(ranks) == most)


def _share(headers: Mapping[str, SafetensorsHeader], convention: Convention) -> int:
    """Return the part of an expert's width that most matrices of ranks have; 0 without any."""
    votes = Counter(_shares(headers.values(), convention))
    return votes.most_common(1)[0][0] if votes else 0


def _shares(headers: Iterable[SafetensorsHeader], convention: Convention) -> Iterator[int]:
    for header in headers:
        for name, stored in header.arrays.items():
            axis = rank_axis(convention, weight_of(name))
            if axis is not None and len(stored.spec.shape) >= -axis:
                yield stored.spec.shape[axis]
