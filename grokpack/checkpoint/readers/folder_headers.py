"""Headers of a folder of safetensors files: the model's, what they hold, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.readers import packed_arrays, weight_files
from grokpack.core.finding import Finding
from grokpack.formats.header_allowance import Allowance
from grokpack.models import registry, tensor_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.checkpoint.readers.kind_files import KindFiles
    from grokpack.core.layout import Box
    from grokpack.core.tensors import ArraySpec
    from grokpack.formats.safetensors import SafetensorsHeader
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.tensor_names import Convention


@dataclass(slots=True)
class FolderHeaders:
    """Headers of a folder, and the location of each array's parts."""

    headers: dict[str, SafetensorsHeader] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)  # files that should exist
    findings: list[Finding] = field(default_factory=list)
    arrays: dict[str, ArraySpec] = field(default_factory=dict)
    boxes: dict[tuple[str, str], Box] = field(default_factory=dict)  # (file, array)
    placed: Mapping[str, str] = field(default_factory=dict)  # file of each tensor, by an index
    count_source: str | None = None  # what gives the files that should exist
    kinds: KindFiles | None = None  # of a release that has a file for each kind of tensor

    def take(self, kinds: KindFiles) -> None:
        """Use the names of a release's files, without those that hold something else."""
        self.kinds, self.count_source = kinds, "the names of the release's files"
        self.findings += kinds.findings
        self.files = list(kinds.expected)
        for path in kinds.misplaced:
            del self.headers[path]

    def miss(self, entry: ModelTensor, name: str) -> None:
        """Add a finding for an array of a tensor that is missing, unless its file's says so."""
        holders = self.kinds.holders(entry.rule) if self.kinds else []
        if not any(finding.file in holders for finding in self.findings):
            what = "tensor is missing"
            self.findings += [Finding("GP101", what, path, name) for path in holders or (None,)]

    def located(self) -> tuple[Finding, ...]:
        """Return the findings, those that name a tensor alone with each file that holds it."""
        holders: dict[str | None, list[str]] = {}
        for path, header in self.headers.items():
            for name in header.arrays:
                holders.setdefault(name, []).append(path)
        return tuple(
            replace(finding, file=file)
            for finding in self.findings
            for file in ([finding.file] if finding.file else holders.get(finding.tensor, [None]))
        )


def read_headers(folder: str) -> FolderHeaders:
    """Read the index of a folder, and the header of every file that is the model's."""
    choice = weight_files.choose(folder)
    found = FolderHeaders(findings=choice.findings)
    read = partial(weight_files.read_header, folder, allowance=Allowance())
    looks = storage.map_all(folder, read, choice.files)
    for path, look in zip(choice.files, looks, strict=True):
        if isinstance(look, Finding):
            found.findings.append(look)
        else:
            found.headers[path] = look
    found.files, found.placed, found.count_source = list(choice.files), choice.placed, choice.index
    if choice.index is None:
        _leave_copies(found)
        if any(weight_files.is_numbered(path) for path in found.files):
            found.count_source = "the names of the shards"
    return found


def _leave_copies(found: FolderHeaders) -> None:
    """Leave out files that are not the model's, and find missing shards by their names."""
    arrays = {path: header.arrays.keys() for path, header in found.headers.items()}
    for path, why in weight_files.choose_copies(arrays, _is_known).items():
        found.findings.append(weight_files.unread_file_finding(path, why))
        found.files.remove(path)
        del found.headers[path]
    missing = weight_files.missing_shards(found.files)
    found.findings += missing
    found.files += [finding.file for finding in missing if finding.file]


def _is_known(name: str) -> bool:
    weight = packed_arrays.weight_of(name)
    return any(tensor_names.parse(convention, weight) for _, convention in registry.conventions())


def index_findings(found: FolderHeaders, convention: Convention) -> Iterator[Finding]:
    """Yield contradictions between an index and the files that it lists."""
    if not found.placed:
        return
    for name, path in found.placed.items():
        if path in found.headers and name not in found.headers[path].arrays:
            what = "the index places a tensor here that the file does not hold"
            yield Finding("GP105", what, path, name)
    for path, header in found.headers.items():
        for name in header.arrays:
            weight = packed_arrays.weight_of(name)
            if name not in found.placed and tensor_names.parse(convention, weight):
                what = "the index does not list this tensor: who goes by it leaves it out"
                yield Finding("GP102", what, path, name)
