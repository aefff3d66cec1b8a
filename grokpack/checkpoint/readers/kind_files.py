"""Files of a release that hold one kind of tensor each: which there should be, and what each holds.

Their names tell how many there are, which an index tells elsewhere, and what a file should hold, so
that one under another's name is found.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.layouts import kind_files_layout
from grokpack.checkpoint.readers import release_ranks
from grokpack.checkpoint.readers.packed_arrays import weight_of
from grokpack.core.finding import Finding
from grokpack.models.tensor_names import parse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from grokpack.checkpoint.readers.release_ranks import Numbered, RankCount
    from grokpack.formats.safetensors import SafetensorsHeader
    from grokpack.models.architecture import TensorRule
    from grokpack.models.family import Family
    from grokpack.models.tensor_names import Convention


@dataclass(slots=True)
class KindFiles:
    """Files that a release of some number of ranks has, and what is wrong with those that exist.

    Attributes:
        ranks: Number of ranks, and whether it is known from more than the existing files.
        expected: The kind of tensor by the name of each file.
        layers: Number of layers in most of these files, if it is that of more than half; else None.
        misplaced: Files that hold another kind than their names say, or that no release has.
        findings: What is wrong with names and kinds.
    """

    ranks: RankCount
    expected: Mapping[str, TensorRule]
    layers: int | None = None
    misplaced: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    def holders(self, rule: TensorRule) -> list[str]:
        """Return the files that should hold a kind of tensor."""
        return [path for path, kind in self.expected.items() if kind == rule]


def examine(
    headers: Mapping[str, SafetensorsHeader],
    family: Family,
    convention: Convention,
    listed: Collection[str],
    recorded: Collection[str],
    settings: Mapping[str, Any],
) -> KindFiles | None:
    """Compare the files of a folder with those of a release; None for a folder of another form.

    Args:
        headers: Headers of the readable files.
        family: The family of the model.
        convention: The naming convention.
        listed: Files that exist, readable or not.
        recorded: Files that a manifest names.
        settings: The config, or nothing.
    """
    numbered, noted = _numbered(family, listed), _numbered(family, recorded)
    if not numbered and not noted:
        return None
    own = {path: header for path, header in headers.items() if path in numbered}
    ranks = release_ranks.count(own, numbered, noted, family, convention, settings)
    found = KindFiles(ranks, kind_files_layout.paths(family, ranks.total))
    for path, header in own.items():
        _examine_file(found, path, header, family, convention)
    found.layers = _usual_layers(found, own, family, convention)
    unread = {*listed, *noted} - headers.keys()
    found.findings += [
        Finding("GP101", "file is missing", path)
        for path in found.expected
        if path not in headers and path not in unread
    ]
    return found


def _numbered(family: Family, paths: Iterable[str]) -> Numbered:
    """Return the numbers of kind and rank of those files that are named as a release's are."""
    known = {path: kind_files_layout.numbers(family, path) for path in paths}
    return {path: found for path, found in known.items() if found is not None}


def _examine_file(
    found: KindFiles, path: str, header: SafetensorsHeader, family: Family, convention: Convention
) -> None:
    """Compare what a file holds with what its name says."""
    if path not in found.expected:
        found.misplaced.add(path)
        what = f"no release for {found.ranks.total} ranks has a file of this name"
        found.findings.append(Finding("GP102", what, path))
        return
    wanted = found.expected[path]
    parsed = (parse(convention, weight_of(name)) for name in header.arrays)
    held = {one.part for one in parsed if one is not None}
    if held and wanted.part not in held:
        found.misplaced.add(path)
        titles = sorted(rule.title for rule in family.rules if rule.part in held)
        what = "file holds another kind of tensor than its name says: swapped, or copied over"
        found.findings.append(Finding("GP108", what, path, None, wanted.title, ", ".join(titles)))


def _usual_layers(
    found: KindFiles, own: Mapping[str, SafetensorsHeader], family: Family, convention: Convention
) -> int | None:
    """Return the number of layers that more than half of the release's files hold, or None.

    A config that says otherwise is wrong; one file that does so is damaged.
    """
    votes: Counter[int] = Counter()
    for path, header in own.items():
        parsed = (parse(convention, weight_of(name)) for name in header.arrays)
        numbers = [one.layer for one in parsed if one is not None and one.layer is not None]
        if numbers and path not in found.misplaced:
            votes[1 + max(numbers)] += 1
    of_layers = sum(rule in family.layer_rules for rule in found.expected.values())
    layers, files = votes.most_common(1)[0] if votes else (0, 0)
    return layers if files * 2 > of_layers else None
