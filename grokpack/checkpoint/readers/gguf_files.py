"""Files of a GGUF model: one, or those of a split."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.readers import weight_files
from grokpack.core.errors import NO_FAULT_OF_FILES, GrokpackError, InputTooLarge, Place
from grokpack.core.finding import Finding
from grokpack.formats import file_recognition, gguf_header
from grokpack.formats.header_allowance import Allowance
from grokpack.models import registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grokpack.formats.gguf import TensorInfo
    from grokpack.formats.gguf_header import GgufHeader, HeaderValue

_ARCHITECTURE = "general.architecture"
SUFFIX = ".gguf"
_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_MOST_FILES = 4096  # of a split; with a gigabyte each, thirteen times the release
_FEW = 5  # names that a message lists


@dataclass(frozen=True, slots=True)
class GgufFiles:
    """Files of a model, with their headers in the order of the split.

    Attributes:
        folder: Their folder.
        names: Names of all files that the model should have.
        headers: Headers of the existing files, by name.
        findings: Missing files, and files beside them that are not read.
    """

    folder: str
    names: tuple[str, ...]
    headers: dict[str, GgufHeader]
    findings: list[Finding]

    @property
    def first(self) -> str:
        """The file that has the keys."""
        return self.names[0]

    @property
    def expected(self) -> int:
        """Number of files that the model should have."""
        return len(self.names)

    @property
    def complete_keys(self) -> bool:
        """True if the first file exists, which has all keys."""
        return self.first in self.headers

    @property
    def keys(self) -> Mapping[str, HeaderValue]:
        """Keys of the first file."""
        return self.headers[self.first].keys

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture."""
        return str(self.keys[_ARCHITECTURE])

    def tensors(self) -> dict[str, TensorInfo]:
        """Return every tensor of every file."""
        return {n: info for header in self.headers.values() for n, info in header.tensors.items()}

    def placed(self, finding: Finding) -> Finding:
        """Add the file of a finding's tensor, if one has it or there is only one."""
        only = self.first if self.expected == 1 else None
        owners = (n for n, header in self.headers.items() if finding.tensor in header.tensors)
        return replace(finding, file=finding.file or next(owners, only))


def are_in(names: Iterable[str]) -> bool:
    """Return whether GGUF files are among the names of a folder."""
    return any(n.endswith(SUFFIX) and not weight_files.is_hidden(n) for n in names)


def read(path: str) -> GgufFiles:
    """Read the headers of a model's files.

    Args:
        path: A file, one of a split's, or the folder of a single model.

    Raises:
        GrokpackError: GP203 if a folder holds several models, GP219 for another architecture, GP209
            or GP233 for a file that is no GGUF, GP235 for a name that claims too many files.
    """
    beside: list[Finding] = []
    if storage.is_folder(path):
        path, others = _chosen(path)
        beside = [weight_files.unread_file_finding(name) for name in others]
    folder, name = os.path.split(storage.absolute(path))
    names = _files_of(name)
    allowance = Allowance()
    looks = storage.map_all(path, lambda own: _header(os.path.join(folder, own), allowance), names)
    headers = {own: look for own, look in zip(names, looks, strict=True) if look is not None}
    missing = [
        Finding("GP101", "file of the split is missing", own) for own in names if own not in headers
    ]
    if names[0] in headers:
        _refuse_others(headers[names[0]].keys, os.path.join(folder, names[0]))
    return GgufFiles(
        folder, tuple(names), headers, [*beside, *missing, *_misplaced(names, headers)]
    )


def _header(place: str, allowance: Allowance) -> GgufHeader | None:
    """Read the header of a file; return None if it does not exist."""
    if not storage.exists(place):
        return None
    data = storage.FileBytes(place)
    try:
        return gguf_header.read(data, place, allowance)
    except GrokpackError as error:
        raise file_recognition.explained(error, data, place, "a GGUF file") from error


def _files_of(name: str) -> list[str]:
    """Return all files of the split that a file belongs to; otherwise the file itself.

    Raises:
        GrokpackError: GP235 if the name claims more files than any model has.
    """
    match = _SPLIT.fullmatch(name)
    if match is None:
        return [name]
    stem, count = match[1], int(match[3])
    if count > _MOST_FILES:
        raise InputTooLarge(f"a split of more than {_MOST_FILES:,} files", Place(name))
    return [f"{stem}-{n + 1:05d}-of-{match[3]}{SUFFIX}" for n in range(max(count, 1))]


def _refuse_others(keys: Mapping[str, HeaderValue], place: str) -> None:
    """Refuse a file that is no model of a family that is known."""
    kind, arch = keys.get("general.type", "model"), keys.get(_ARCHITECTURE)
    number, count = keys.get("split.no"), keys.get("split.count")
    if arch is None and number:
        what = f"the file is number {_next(number)} of a split of {count}, under another name"
    elif kind != "model":
        what = f"the file holds no model, but `{str(kind)[:40]}`"
    elif arch is None:
        what = "the file names no architecture"
    elif arch not in (known := registry.gguf_architectures()):
        what = f"architecture is `{str(arch)[:40]}`, not `{'` or `'.join(known)}`"
    else:
        return
    raise GrokpackError("GP219", what, Place(place))


def _misplaced(names: list[str], headers: Mapping[str, GgufHeader]) -> list[Finding]:
    """Return findings for files whose keys name another part of a split than their names."""
    findings = []
    for number, name in enumerate(names):
        keys = headers[name].keys if name in headers else {}
        said = keys.get("split.no", number), keys.get("split.count", len(names))
        if said[1] in (0, 1) and len(names) == 1:
            continue
        if said != (number, len(names)):
            what = "the file is another one of a split than its name says"
            facts = f"{number + 1} of {len(names)}", f"{_next(said[0])} of {said[1]}"
            findings.append(Finding("GP108", what, name, None, *facts))
    return findings


def _next(number: HeaderValue) -> HeaderValue:
    return number + 1 if isinstance(number, int) else number


def _chosen(folder: str) -> tuple[str, list[str]]:
    """Return the first file of the only model in a folder, and the files that are not its own.

    Raises:
        GrokpackError: GP203 if there are several models, or none.
    """
    visible = [n for n in storage.names(folder) if n.endswith(SUFFIX)]
    visible = [name for name in visible if not weight_files.is_hidden(name)]
    own = [n for n in visible if not weight_files.is_beside(n, visible)] or visible
    models = {_files_of(name)[0]: _files_of(name) for name in own}
    chosen = list(models)
    if len(models) > 1:
        chosen = [first for first, names in models.items() if _is_model(folder, names)]
    if len(chosen) != 1:
        listed = ", ".join((chosen or list(models))[:_FEW])
        what = "several GGUF models are here" if chosen else "none of these GGUF files is a Grok"
        hint = "name the file that is meant, or the first of its split"
        raise GrokpackError("GP203", what, Place(folder), (("found", listed),), hint)
    files = models[chosen[0]]
    return os.path.join(folder, files[0]), [name for name in visible if name not in files]


def _is_model(folder: str, names: list[str]) -> bool:
    """Return whether files are those of a Grok model, by the first that exists."""
    for name in names:
        place = os.path.join(folder, name)
        if storage.exists(place):
            try:
                keys = gguf_header.read(storage.FileBytes(place), place).keys
                _refuse_others(keys, place)
            except NO_FAULT_OF_FILES:
                raise
            except GrokpackError:
                return name != names[0]  # only the first has all keys
            return True
    return False
