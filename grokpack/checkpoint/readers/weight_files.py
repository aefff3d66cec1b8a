"""Choice of a model's files among copies, adapters and leftovers of downloads.

An index lists the model's files. Without one, names and the contents of headers decide.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.readers import unfinished_downloads
from grokpack.core.errors import (
    NO_FAULT_OF_FILES,
    GrokpackError,
    InputTooLarge,
    MalformedInput,
    Place,
    UnsupportedLayout,
)
from grokpack.core.finding import Finding
from grokpack.formats import file_recognition, safetensors
from grokpack.formats.safetensors import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from grokpack.formats.header_allowance import Allowance
    from grokpack.formats.safetensors import SafetensorsHeader

INDEX = "model.safetensors.index.json"
INDEX_SUFFIX = ".safetensors.index.json"
_MOST_TENSORS, _MOST_FILES = 1 << 16, 1 << 12  # of an index; Grok-1 with packed experts has 7,000
_MAIN = f"model{SUFFIX}"  # name of the only file of a folder
_NUMBERED = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")
_RANKED = re.compile(r"(.+)-TP-(\d{3}|common)\.safetensors")
_LEFTOVER = re.compile(
    rf".*(~|\.({unfinished_downloads.ENDINGS}|aria2__temp|te?mp|st|lo?ck"
    r"|meta|meta4|metadata|bak|orig|old|swp|torrent|url|log"
    r"|md5|sha1|sha256|sha512|sha256sums?|crc32|b3|asc|sig|\d{1,3}))",
    re.IGNORECASE,
)
_COPY = re.compile(
    r"(?P<stem>.+?)( ?\(\d{1,3}\)|[ _-]copy( \d{1,3})?| - copy( \(\d{1,3}\))?| \d{1,3})"
    r"(?P<ending>\.[a-z]+)?",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    r"(.*[-_.])?(adapter|lora|optimizer|mmproj|imatrix)([-_.].*)?\.(safetensors|gguf)",
    re.IGNORECASE,
)
_CONSOLIDATED = re.compile(r"consolidated.*\.safetensors")
_HALF = 0.5  # share of a file's arrays that others hold as well, above which it is a copy
_MOST_NAMED = 1000  # missing shards, of a number that a name claims


@dataclass(slots=True)
class ModelFiles:
    """The model's files in a folder.

    Attributes:
        files: Their names, to be read.
        placed: The file of each tensor, by the index; empty without one.
        index: Name of the index; None without one.
        findings: Missing files, by name, and files beside them that are not read.
    """

    files: list[str]
    placed: Mapping[str, str] = field(default_factory=dict)
    index: str | None = None
    findings: list[Finding] = field(default_factory=list)


def is_hidden(name: str) -> bool:
    """Return whether a name is hidden, as caches and macOS companion files are."""
    return name.startswith(".")


def is_leftover(name: str) -> bool:
    """Return whether a download, an editor or a copy left a file of this name behind."""
    return is_hidden(name) or bool(_LEFTOVER.fullmatch(name) or _COPY.fullmatch(name))


def is_beside(name: str, present: Collection[str]) -> bool:
    """Return whether a weight file is not the model's own, by its name and those present."""
    copy = _COPY.fullmatch(name)
    copied = copy is not None and f"{copy['stem']}{copy['ending'] or ''}" in present
    return is_hidden(name) or copied or _OTHERS.fullmatch(name) is not None


def unread_file_finding(name: str, why: str = "lies beside the model's files: not read") -> Finding:
    """Return the finding about a file that is not read."""
    return Finding("GP102", why, name, severity="warning")


def has_weights(present: Iterable[str]) -> bool:
    """Return whether safetensors files of any kind, or an index, are among the names."""
    return any(n.endswith((SUFFIX, INDEX_SUFFIX)) and not is_hidden(n) for n in present)


def choose(folder: str) -> ModelFiles:
    """Choose the model's files, by an index or by their names.

    Raises:
        GrokpackError: GP209 for an index that names no files of its folder, GP203 if there are only
            adapters.
    """
    present = [name for name in storage.names(folder) if not is_hidden(name)]
    weights = [name for name in present if name.endswith(SUFFIX)]
    index = _index_of(folder, present)
    if index is not None:
        placed = _read_index(os.path.join(folder, index))
        files = list(dict.fromkeys(placed.values()))
        beside = [name for name in weights if name not in files]
        why = f"{index} does not list it: not read"
        return ModelFiles(files, placed, index, [unread_file_finding(name, why) for name in beside])
    own = [name for name in weights if not is_beside(name, weights)]
    plain = [name for name in own if not _CONSOLIDATED.fullmatch(name)]
    files = plain or own
    if not files:
        what = "an adapter alone is here, not the model that it adapts"
        hint = "merge it into the model, and save that: `merge_and_unload` of peft does"
        raise GrokpackError("GP203", what, Place(folder, tensor=weights[0]), hint=hint)
    findings = [unread_file_finding(name) for name in weights if name not in files]
    return ModelFiles(files, findings=findings)


def _index_of(folder: str, present: list[str]) -> str | None:
    """Return the index of a folder; a single file of the usual name needs none.

    A server without listings may still have the usual index.
    """
    if storage.exists(os.path.join(folder, INDEX)):
        return INDEX
    others = [name for name in present if name.endswith(INDEX_SUFFIX)]
    return others[0] if len(others) == 1 and _MAIN not in present else None


def _read_index(path: str) -> dict[str, str]:
    """Read the index's table: file by tensor name."""
    document = storage.read_json(path)
    table = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(table, dict) or not table:
        raise MalformedInput("the index is broken: weight_map names no files", Place(path))
    for tensor, name in table.items():
        if not _is_plain(name):
            what = "the index is broken: it names what is no file of its folder"
            facts = (("found", str(name)[:80]),)
            raise MalformedInput(what, Place(path, tensor=tensor), facts)
    if len(table) > _MOST_TENSORS or len(set(table.values())) > _MOST_FILES:
        what = f"the index names more than {_MOST_TENSORS:,} tensors, or {_MOST_FILES:,} files"
        raise InputTooLarge(what, Place(path))
    return table


def _is_plain(name: object) -> bool:
    return (
        isinstance(name, str)
        and name == os.path.basename(name)
        and name not in ("", ".", "..")
        and "\0" not in name
        and "\\" not in name
    )


def choose_copies(
    arrays: Mapping[str, Collection[str]], is_known: Callable[[str], bool]
) -> dict[str, str]:
    """Return the files that are not the model's, and why, by their contents.

    Args:
        arrays: Names of arrays by file.
        is_known: Returns whether a name is that of a tensor of the model, or of a part of one.
    """
    foreign = {file for file, held in arrays.items() if not any(is_known(name) for name in held)}
    if len(foreign) == len(arrays):
        return {}
    beside = dict.fromkeys(sorted(foreign), "holds no tensor of the model: not read")
    families: dict[tuple[object, ...], list[str]] = {}
    for file in arrays:
        if file not in foreign:
            families.setdefault(_family(file), []).append(file)
    taken: set[str] = set()
    for key in sorted(families, key=lambda key: _rank_of(key, families[key])):
        held = {name for file in families[key] for name in arrays[file]}
        if len(held & taken) > _HALF * len(held):
            why = "another copy of tensors that other files hold: not read"
            beside |= dict.fromkeys(families[key], why)
        else:
            taken |= held
    return beside


def _family(file: str) -> tuple[object, ...]:
    """Return what the files of one saved model share: their stem, and their number."""
    numbered, ranked = _NUMBERED.fullmatch(file), _RANKED.fullmatch(file)
    if ranked:
        return ("ranks",)
    return (numbered[1], int(numbered[3])) if numbered else (file,)


def _rank_of(key: tuple[object, ...], files: list[str]) -> tuple[object, ...]:
    """Return the sort key of families: the usual single file first, whole ones, then others."""
    is_part = len(key) > 1 and len(files) != key[1]
    usual = str(key[0]).removesuffix(SUFFIX) in ("model", "ranks")
    return key != (_MAIN,), is_part, not usual, str(key)


def is_numbered(file: str) -> bool:
    """Return whether a file's name gives the number of files."""
    return _NUMBERED.fullmatch(file) is not None


def missing_shards(files: Collection[str]) -> list[Finding]:
    """Return findings for shards that are missing by the names of others."""
    numbered = [match for file in files if (match := _NUMBERED.fullmatch(file)) is not None]
    findings = []
    for stem, total in dict.fromkeys((match[1], match[3]) for match in numbered):
        own = {int(match[2]) for match in numbered if (match[1], match[3]) == (stem, total)}
        first = 0 if 0 in own else 1  # some writers count from zero
        promised = range(first, first + min(int(total), len(own) + _MOST_NAMED))
        findings += [
            Finding("GP101", "file is missing", f"{stem}-{number:05d}-of-{total}{SUFFIX}")
            for number in promised
            if number not in own
        ]
    return findings


def read_header(folder: str, path: str, allowance: Allowance) -> SafetensorsHeader | Finding:
    """Read the header of a safetensors file, or return the finding about it.

    Raises:
        GrokpackError: GP208 for a dtype that is not read, which no other download changes; GP235 if
            the headers are larger than those of any checkpoint.
    """
    place = os.path.join(folder, path)
    if not storage.exists(place):
        return Finding("GP101", "file is missing", path)
    data = storage.FileBytes(place)
    try:
        return safetensors.read(data, place, allowance)
    except (*NO_FAULT_OF_FILES, UnsupportedLayout):
        raise
    except GrokpackError as error:
        return _unreadable(error, data, path)


def _unreadable(error: GrokpackError, data: storage.FileBytes, path: str) -> Finding:
    shown = file_recognition.explained(error, data, path, "a safetensors file")
    facts = dict(shown.facts)
    code = "GP111" if isinstance(shown, MalformedInput) else shown.code
    what = shown.what if shown.hint is None else f"{shown.what}: {shown.hint}"
    return Finding(code, what, path, None, facts.get("expected"), facts.get("found"))
