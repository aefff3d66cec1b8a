"""`verify --against`: every byte against what somebody else recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack import manifest, storage
from grokpack.checkpoint import Finding
from grokpack.contents import listings, places, published, records, torrent, whole_files
from grokpack.contents.check import Contents, check_contents, other_sizes
from grokpack.contents.limits import Limits
from grokpack.contents.memory import Memory
from grokpack.contents.naming import match
from grokpack.contents.pieces import check_pieces
from grokpack.contents.whole_files import Sum
from grokpack.errors import GrokpackError, Place
from grokpack.events import Listener, ignore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint import Checkpoint

_TENSOR_ENDS = (".safetensors", ".gguf")
_FEW = 3


def check_against(
    checkpoint: Checkpoint, path: str, limits: Limits | None = None, listen: Listener = ignore
) -> Contents:
    """Read files and compare them with a manifest, sums or a torrent from elsewhere.

    Args:
        checkpoint: Whose files.
        path: A manifest, a list of sha256 sums, a torrent; or `hf:OWNER/NAME[@REVISION]`, a
            repository of Hugging Face's hub; or `hf:`, what a download from there left behind.
        limits: How much is read, and when it ends; sums of whole files allow no share.
        listen: Receives progress.

    Raises:
        GrokpackError: GP230 where it is none of these, or names none of the files; GP304 for a
            share of files that have one sum each; what the hub answers.
    """
    limits = limits or Limits()
    document = None if published.is_hub(path) else _manifest(path)
    if document is not None:
        return _check_manifest(checkpoint, document, path, limits, listen)
    _refuse_share(path, limits)
    if path.endswith(torrent.SUFFIX):
        found = check_pieces(checkpoint, torrent.read(path), limits, listen)
        if not found.read_bytes and found.ended and not found.findings:
            raise _stranger(path)
        return found
    if published.is_hub(path):
        sums, origin = published.read(checkpoint, path)
    else:
        sums = {name: Sum("sha256", value) for name, value in listings.read(path).items()}
        origin = path
    return _check_sums(checkpoint, sums, origin, limits, listen)


def _check_manifest(
    checkpoint: Checkpoint,
    document: Mapping[str, object],
    path: str,
    limits: Limits,
    listen: Listener,
) -> Contents:
    theirs = records.foreign(checkpoint, path, document)
    if not theirs.files:
        raise _stranger(path)
    contents = check_contents(checkpoint, theirs, limits, listen, Memory(checkpoint))
    sizes = {record.path: storage.size_of(record.path) for record in theirs.files}
    extra = [*other_sizes(theirs.files, sizes)]
    return contents.also(extra + _unmatched(theirs.unknown, theirs.absent, path))


def _refuse_share(path: str, limits: Limits) -> None:
    if limits.share != type(limits.share)():
        what = "sums of whole files say nothing of a part of a file"
        raise GrokpackError("GP304", what, Place(path), hint="leave --subset and --max-age out")


def _manifest(path: str) -> dict[str, object] | None:
    head = storage.FileBytes(path)
    first = head.read(0, min(64, head.size())).lstrip()
    return manifest.load_file(path) if first.startswith(b"{") else None


def _stranger(path: str) -> GrokpackError:
    what = "names none of the checkpoint's files"
    return GrokpackError("GP230", what, Place(path), hint="is it the list of another checkpoint?")


def _unmatched(unknown: tuple[str, ...], absent: tuple[str, ...], origin: str) -> list[Finding]:
    """Findings for tensor files that one side has and the other does not."""
    gone = [name for name in absent if _is_tensor(name)]
    findings = [Finding("GP101", f"file is missing; {origin} has it", name) for name in gone]
    if unknown:
        few = ", ".join(unknown[:_FEW]) + (", .." if len(unknown) > _FEW else "")
        what = f"nothing to compare {len(unknown):,} files with"
        findings.append(Finding("GP118", what, None, None, None, few, "warning"))
    return findings


def _is_tensor(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.startswith("tensor") or last.endswith(_TENSOR_ENDS)


def _check_sums(
    checkpoint: Checkpoint, sums: Mapping[str, Sum], origin: str, limits: Limits, listen: Listener
) -> Contents:
    files = [file.path for file in checkpoint.layout.files()]
    named = match(files, {name: name for name in sums}, places.below_home(checkpoint))
    if not named:
        raise _stranger(origin)
    expected = {file: sums[name] for file, name in named.items()}
    contents = whole_files.check_sums(checkpoint, expected, origin, limits, listen)
    unknown = tuple(file for file in files if file not in named)
    absent = tuple(name for name in sums if name not in set(named.values()))
    return contents.also(_unmatched(unknown, absent, origin))
