"""Sizes and digests of a repository's files, as Hugging Face's hub lists them.

They come from the hub itself, or from what `hf download --local-dir` wrote beside the files. Large
files have a sha256 there, small ones git's own hash of a blob.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.core.errors import GrokpackError, InputTooLarge, MalformedInput, Place, UnusableValue
from grokpack.models import registry
from grokpack.verification.checksum_lists.digests import ExpectedDigest

if TYPE_CHECKING:
    from grokpack.checkpoint.manifest_paths import ComparedFiles

SCHEME = "hf:"
_METADATA = os.path.join(".cache", "huggingface", "download")
_SUFFIX = ".metadata"
_SHA1, _SHA256 = 40, 64  # hex digits
_LINES = 2  # of a metadata file: the revision, then the hash
_LIMIT_BYTES = 4096
_MOST_FILES = 1 << 14


def is_hub(against: str) -> bool:
    """Return whether `--against` names a repository of the hub."""
    return against.startswith(SCHEME)


def read(checkpoint: ComparedFiles, against: str) -> tuple[dict[str, ExpectedDigest], str]:
    """Return the digests of a repository's files by path, and a title of their origin.

    Args:
        checkpoint: Checkpoint beside which a download's metadata is sought, if no repository is
            named.
        against: `hf:OWNER/NAME`, `hf:OWNER/NAME@REVISION`, or `hf:` alone.

    Raises:
        GrokpackError: GP346 for another form, GP230 where there is no such repository or metadata;
            others as `hub_repository.published_files`.
    """
    repository = against.removeprefix(SCHEME).removeprefix("//")
    if not repository:
        return _left_behind(checkpoint)
    name, _, revision = repository.partition("@")
    if name.count("/") != 1 or not all(name.split("/")):
        own = SCHEME + _repository(checkpoint)
        hint = f"write {own}, or {own}@REVISION"
        raise UnusableValue(f"`{against}` names no repository", hint=hint)
    return _asked(name, revision or "main", against)


def _repository(files: ComparedFiles) -> str:
    """Return the repository of a model's family; where it is not known, of the first one's."""
    family = files.model.family if files.model else registry.by_config({})
    return family.publication.repository


def _asked(name: str, revision: str, against: str) -> tuple[dict[str, ExpectedDigest], str]:
    from grokpack.storage.http import hub_repository  # the network, which other lists do without

    commit, rows = hub_repository.published_files(name, revision)
    try:
        digests = {row["path"]: _digest(row) for row in rows if row["type"] == "file"}
    except (KeyError, TypeError) as error:
        what = f"the hub's listing is broken: {type(error).__name__}: {error}"
        raise MalformedInput(what, Place(against)) from error
    return digests, f"{SCHEME}{name}@{commit}"


def _digest(row: dict[str, Any]) -> ExpectedDigest:
    """Return what a row of the hub's listing says of a file."""
    lfs = row.get("lfs")
    kind, digest = ("git", row["oid"]) if lfs is None else ("sha256", lfs["oid"])
    return ExpectedDigest(kind, str(digest), int(row["size"]))


def _left_behind(checkpoint: ComparedFiles) -> tuple[dict[str, ExpectedDigest], str]:
    """Read the metadata that a download wrote beside the files, in the folder or above it."""
    for folder in dict.fromkeys(
        (checkpoint.home, checkpoint.folder, storage.parent(checkpoint.home))
    ):
        root = os.path.join(folder, _METADATA)
        if not storage.is_url(root) and storage.is_folder(root):
            return _described(root)
    asking = f"--against {SCHEME}{_repository(checkpoint)}"
    hint = f"`hf download --local-dir` writes it; `{asking}` asks the hub"
    what = "no metadata of a download beside the checkpoint"
    raise GrokpackError("GP230", what, Place(os.path.join(checkpoint.home, _METADATA)), hint=hint)


def _described(root: str) -> tuple[dict[str, ExpectedDigest], str]:
    found: dict[str, ExpectedDigest] = {}
    commits: set[str] = set()
    names = storage.tree(root)
    if len(names) > _MOST_FILES:
        what = f"the metadata of a download has more than {_MOST_FILES:,} files"
        raise InputTooLarge(what, Place(root))
    for name in names:
        if not name.endswith(_SUFFIX):
            continue
        path = os.path.join(root, name)
        text = storage.read_whole(path, _LIMIT_BYTES).decode("utf-8", "replace")
        lines = text.splitlines()
        kind = {_SHA1: "git", _SHA256: "sha256"}.get(len(lines[1]) if len(lines) >= _LINES else 0)
        if kind is None or not all(c in "0123456789abcdef" for c in lines[1]):
            raise GrokpackError("GP230", "not the metadata of a download", Place(path))
        found[name.removesuffix(_SUFFIX)] = ExpectedDigest(kind, lines[1], None)
        commits.add(lines[0])
    which = min(commits) if len(commits) == 1 else f"{len(commits)} revisions"
    return found, f"{root} ({which})"
