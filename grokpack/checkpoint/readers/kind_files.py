"""Files of a release that hold one kind of tensor each: which there should be, and what each holds.

Their names tell how many there are, which an index tells elsewhere, and what a file should hold, so
that one under another's name is found.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.layouts import kind_files_layout
from grokpack.checkpoint.readers import release_ranks
from grokpack.checkpoint.readers.kind_agreement import strangers
from grokpack.checkpoint.readers.packed_arrays import weight_of
from grokpack.core.finding import Finding
from grokpack.formats.safetensors import SUFFIX
from grokpack.models.tensor_names import parse

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping

    from grokpack.checkpoint.readers.release_ranks import Numbered, RankCount
    from grokpack.formats.safetensors import SafetensorsHeader
    from grokpack.models.architecture import NetworkPart, TensorRule
    from grokpack.models.family import Family
    from grokpack.models.tensor_names import Convention

_RANK = re.compile(r"TP\D?(\d{1,4})", re.IGNORECASE)  # as people write it who name files anew


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

    def misplace(self, finding: Finding) -> None:
        """Leave out the file that a finding is about."""
        assert finding.file is not None  # noqa: S101  # these are about files
        self.misplaced.add(finding.file)
        self.findings.append(finding)

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
    lost = [path for path in found.expected if path not in {*headers, *listed}]
    for path, header in headers.items():
        held = _parts(header, convention)
        meant = None if path in found.expected else _meant(found, path, held, family, lost)
        if path in found.expected:
            _examine_kind(found, path, held, family)
        elif meant:
            lost.remove(meant)
            what = "file has another name than in the release: rename it"
            found.misplace(Finding("GP102", what, path, None, meant))
            found.findings.append(Finding("GP101", "file is missing under its name", meant))
        elif path in numbered:
            what = f"no release for {ranks.total} ranks has a file of this name"
            found.misplace(Finding("GP102", what, path))
    for path in sorted({*_copies(headers, numbered)} - found.misplaced):
        what = "no file of a release has this name, and others hold the tensors in it"
        found.misplace(Finding("GP102", what, path))
    kinds = {p: found.expected[p] for p in headers if p in found.expected.keys() - found.misplaced}
    for strange in [*strangers(headers, kinds, convention)]:
        found.misplace(strange)
    found.layers = _usual_layers(found, own, family, convention)
    found.findings += [Finding("GP101", "file is missing", path) for path in lost]
    return found


def _copies(headers: Mapping[str, SafetensorsHeader], numbered: Container[str]) -> Iterator[str]:
    """Yield the files without a release's name that hold tensors of those with one."""
    held = {name for path, header in headers.items() if path in numbered for name in header.arrays}
    for path, header in headers.items():
        if path not in numbered and not held.isdisjoint(header.arrays):
            yield path


def _numbered(family: Family, paths: Iterable[str]) -> Numbered:
    """Return the numbers of kind and rank of those files that are named as a release's are."""
    known = {path: kind_files_layout.numbers(family, path) for path in paths}
    return {path: found for path, found in known.items() if found is not None}


def _parts(header: SafetensorsHeader, convention: Convention) -> set[NetworkPart]:
    """Return the kinds of tensor that a file holds."""
    parsed = (parse(convention, weight_of(name)) for name in header.arrays)
    return {one.part for one in parsed if one is not None}


def _meant(
    found: KindFiles, path: str, held: set[NetworkPart], family: Family, lost: Collection[str]
) -> str | None:
    """Return the missing file that one of another name looks like, by its kind and its rank."""
    rules = [rule for rule in family.rules if rule.part in held]
    if len(rules) != 1:
        return None
    missing = [name for name in found.holders(rules[0]) if name in lost]
    ranked = _RANK.search(path)
    if ranked and rules[0].stacked:
        missing = [name for name in missing if name.endswith(f"-TP-{int(ranked[1]):03d}{SUFFIX}")]
    return missing[0] if len(missing) == 1 else None


def _examine_kind(found: KindFiles, path: str, held: set[NetworkPart], family: Family) -> None:
    """Compare what a file holds with what its name says."""
    wanted = found.expected[path]
    if held and wanted.part not in held:
        titles = sorted(rule.title for rule in family.rules if rule.part in held)
        what = "file holds another kind of tensor than its name says: swapped, or copied over"
        found.misplace(Finding("GP108", what, path, None, wanted.title, ", ".join(titles)))


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
