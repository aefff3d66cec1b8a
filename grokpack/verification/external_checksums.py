"""Check of every byte against external checksums, for `verify --against`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import manifest_file, manifest_paths, manifest_records
from grokpack.checkpoint.list_matching import is_weights, match
from grokpack.core.errors import GrokpackError, Place
from grokpack.core.events import Listener, ignore_event
from grokpack.core.finding import Finding, of_kinds, only_errors
from grokpack.verification import file_checksums
from grokpack.verification.check_history import CheckHistory
from grokpack.verification.checksum_lists import hub, sha256_list, torrent
from grokpack.verification.checksum_lists.digests import ExpectedDigest
from grokpack.verification.content_findings import size_findings, unlisted_finding
from grokpack.verification.read_options import ReadOptions
from grokpack.verification.torrent_pieces import check_pieces, files_of
from grokpack.verification.verify_contents import check_contents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.manifest_paths import ComparedFiles
    from grokpack.verification.read_and_compare import ReadResult

_HEAD_BYTES = 64


def check_against(
    checkpoint: ComparedFiles,
    path: str,
    limits: ReadOptions | None = None,
    listen: Listener = ignore_event,
) -> ReadResult:
    """Read files and compare them with an external manifest, list of digests, or torrent.

    Args:
        checkpoint: The checkpoint with the files.
        path: A manifest, a list of sha256 sums, a torrent; or `hf:OWNER/NAME[@REVISION]`, a
            repository of Hugging Face's hub; or `hf:`, the metadata that a download left.
        limits: Amount to read, and when to end; sums of whole files allow no share.
        listen: Receives progress.

    Raises:
        GrokpackError: GP230 where it is none of these, or names none of the files; GP304 for a
            share of files that have one sum each; what the hub answers.
    """
    limits = limits or ReadOptions()
    head = b"" if hub.is_hub(path) else _head(path)
    if head.lstrip().startswith(b"{"):
        return _check_manifest(checkpoint, manifest_file.load_file(path), path, limits, listen)
    _refuse_share(path, limits)
    if torrent.is_torrent(path, head):
        return _check_torrent(checkpoint, path, limits, listen)
    if hub.is_hub(path):
        sums, origin = hub.read(checkpoint, path)
    else:
        sums = {
            name: ExpectedDigest("sha256", value) for name, value in sha256_list.read(path).items()
        }
        origin = path
    found = _check_sums(checkpoint, sums, origin, limits, listen)
    # the metadata of a download names the files that came, not those that are missing
    return found if path == hub.SCHEME else _telling(found)


def _check_torrent(
    checkpoint: ComparedFiles, path: str, limits: ReadOptions, listen: Listener
) -> ReadResult:
    """Compare with a torrent.

    Raises:
        GrokpackError: GP230 if the torrent names none of the files, or none of its pieces could
            be judged and there is no other finding.
    """
    named = torrent.read(path)
    held = files_of(checkpoint, named)
    if not held:
        raise foreign_list_error(path)
    found = check_pieces(checkpoint, named, held, limits, listen)
    if found.read_bytes or not found.ended or only_errors(found.findings):
        return _telling(found)
    what = "no piece of the torrent could be judged: nothing was compared"
    facts = tuple(("pieces", f.message) for f in of_kinds(found.findings, "GP118"))
    raise GrokpackError("GP230", what, Place(path), facts, "fetch the files that are missing")


def _check_manifest(
    checkpoint: ComparedFiles,
    document: Mapping[str, object],
    path: str,
    limits: ReadOptions,
    listen: Listener,
) -> ReadResult:
    theirs = manifest_records.foreign(checkpoint, path, document)
    if not theirs.files:
        raise foreign_list_error(path)
    contents = check_contents(checkpoint, theirs, limits, listen, CheckHistory(checkpoint))
    sizes = {r.path: storage.size_of(r.path) for r in theirs.files}
    extra = [*size_findings(theirs.files, sizes)]
    extra += _unmatched(theirs.unknown, theirs.absent, path)
    return _telling(contents.also(extra))


def _refuse_share(path: str, limits: ReadOptions) -> None:
    if limits.share != type(limits.share)():
        what = "sums of whole files say nothing of a part of a file"
        raise GrokpackError("GP304", what, Place(path), hint="leave --subset and --max-age out")


def _head(path: str) -> bytes:
    data = storage.FileBytes(path)
    return data.read(0, min(_HEAD_BYTES, data.size()))


def foreign_list_error(path: str) -> GrokpackError:
    """Make the error for a list of files that are not the checkpoint's."""
    what = "names none of the checkpoint's files"
    return GrokpackError("GP230", what, Place(path), hint="is it the list of another checkpoint?")


def _unmatched(unknown: tuple[str, ...], absent: tuple[str, ...], origin: str) -> list[Finding]:
    """Make findings for tensor files that only one side has."""
    gone = [name for name in absent if is_weights(name)]
    findings = [Finding("GP101", f"file is missing; {origin} has it", name) for name in gone]
    return [*findings, *unlisted_finding(unknown)]


def _check_sums(
    checkpoint: ComparedFiles,
    sums: Mapping[str, ExpectedDigest],
    origin: str,
    limits: ReadOptions,
    listen: Listener,
) -> ReadResult:
    files = [file.path for file in checkpoint.layout.files()]
    named = match(files, {name: name for name in sums}, manifest_paths.below_home(checkpoint))
    if not named:
        raise foreign_list_error(origin)
    expected = {file: sums[name] for file, name in named.items()}
    contents = file_checksums.check_sums(checkpoint, expected, origin, limits, listen)
    unknown = tuple(file for file in files if file not in named)
    absent = tuple(name for name in sums if name not in set(named.values()))
    return contents.also(_unmatched(unknown, absent, origin))


def _telling(found: ReadResult) -> ReadResult:
    """Mark a result as complete if the list names all files that are there."""
    return replace(found, lists_all=not of_kinds(found.findings, "GP118"))
