"""Whether a checkpoint is whole: files, framing, shapes, duplicates, recorded sizes and tails."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xxhash

from grokpack import manifest, storage
from grokpack.checkpoint import Finding, array_parts
from grokpack.formats import seekable
from grokpack.tiling import tile_count, tile_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint import Checkpoint, Survey
    from grokpack.layout import FileLayout, Part

SAMPLE_BYTES = 4096  # enough to tell two trained tensors apart; one page
_COMPARE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a verification.

    Attributes:
        survey: What the headers showed.
        findings: All findings, the survey's first.
        checks: Each check and how it went: `ok`, `failed` or `skipped`.
    """

    survey: Survey
    findings: tuple[Finding, ...]
    checks: dict[str, str]

    @property
    def whole(self) -> bool:
        """Whether no error was found."""
        return not any(f.severity == "error" for f in self.findings)

    @property
    def bad_files(self) -> list[str]:
        """Files that have an error, in order."""
        return sorted({f.file for f in self.findings if f.severity == "error" and f.file})


def verify_structure(survey: Survey) -> Verdict:
    """Check what can be known without reading the payload.

    Beyond the survey: tensors that stand twice, and, where a manifest is there, the size and the
    last tile of every file, which holds the scales of a quantised one.
    """
    findings = list(survey.findings)
    checkpoint = survey.checkpoint
    if checkpoint is None:
        if not findings:
            findings.append(Finding("GP210", "the tensors do not tell a model's dimensions"))
    else:
        findings += duplicates(checkpoint)
        findings += _twice(checkpoint)
        findings += against_manifest(checkpoint)
    failed = any(f.severity == "error" for f in findings)
    checks = {"structure": "failed" if failed else "ok", "contents": "skipped", "values": "skipped"}
    return Verdict(survey, tuple(findings), checks)


def _twice(checkpoint: Checkpoint) -> list[Finding]:
    """Files that lie there both as they are and compressed; the compressed one is not read."""
    files = list(checkpoint.layout.files())
    folders = {os.path.dirname(checkpoint.path(file.path)) for file in files}
    there = {os.path.join(folder, name) for folder in folders for name in storage.names(folder)}
    return [
        Finding("GP114", f"{path}.zst lies beside it, and is not read", path, severity="warning")
        for path in (file.path for file in files)
        if (full := checkpoint.path(path)) + seekable.SUFFIX in there
        and storage.stored(full) == full  # a name in an index need not be a file
    ]


def duplicates(checkpoint: Checkpoint) -> list[Finding]:
    """Tensors of equal contents: one file was copied over another.

    One value throughout is no sign of that: sparse layouts and fresh norms have it.
    """
    seen: dict[tuple[int, bytes], list[tuple[FileLayout, Part]]] = defaultdict(list)
    findings = []
    if checkpoint.format != "ckpt-0":
        return []
    for file in checkpoint.layout.files():
        name, (offset, part) = next(iter(array_parts(file).items()))
        data = storage.FileBytes(checkpoint.path(file.path))
        sample = data.read(offset, min(SAMPLE_BYTES, part.nbytes))
        width = part.dtype.itemsize
        if sample[width:] == sample[:-width]:
            continue
        for other, held in seen[part.nbytes, sample]:
            if (held.array, held.box) == (part.array, part.box):  # whole on every host
                continue
            if _equal(checkpoint, file, other):
                findings.append(
                    Finding("GP109", f"file holds the same bytes as {other.path}", file.path, name)
                )
                break
        seen[part.nbytes, sample].append((file, part))
    return findings


def _equal(checkpoint: Checkpoint, one: FileLayout, other: FileLayout) -> bool:
    if one.nbytes != other.nbytes:
        return False
    left, right = (storage.FileBytes(checkpoint.path(f.path)) for f in (one, other))
    return all(
        left.read(at, n) == right.read(at, n)
        for at in range(0, one.nbytes, _COMPARE_BYTES)
        for n in (min(_COMPARE_BYTES, one.nbytes - at),)
    )


def against_manifest(checkpoint: Checkpoint) -> list[Finding]:
    """Sizes and last tiles that differ from what the manifest recorded; none without one."""
    records = list(_records(checkpoint))
    owners = {record.tail: record.file.path for record in records}
    findings = []
    for record in records:
        file, nbytes = record.file, storage.stamp(record.path)[0]
        if nbytes != record.nbytes:
            findings.append(
                Finding(
                    "GP112",
                    "file has another size than the manifest recorded",
                    file.path,
                    None,
                    f"{record.nbytes:,} bytes",
                    f"{nbytes:,} bytes",
                )
            )
            continue
        found = _last_tile_sum(record.path, nbytes) if record.tail else ""
        if found != record.tail:
            findings.append(_changed(file, nbytes, owners.get(found)))
    return findings


@dataclass(frozen=True, slots=True)
class _Record:
    """What a manifest says of a file.

    Attributes:
        file: The file.
        path: What to compare: the file as it lies there, compressed or not, or what it stands for.
        nbytes: The size that was recorded.
        tail: Checksum of the last tile (xxh3_128, hex); empty where there is none.
    """

    file: FileLayout
    path: str
    nbytes: int
    tail: str


def _records(checkpoint: Checkpoint) -> Iterator[_Record]:
    """The manifest's rows of the checkpoint's files.

    A compressed file is compared as it lies there, if it was recorded so: no frame is read for it.
    """
    document, names = _recorded(checkpoint)
    if document is None:
        return
    for file in checkpoint.layout.files():
        path, name = checkpoint.path(file.path), names[file.path]
        held = storage.stored(path)
        row = manifest.row(document, name + held.removeprefix(path))
        if row is None:
            held, row = path, manifest.row(document, name)
        if row is not None:
            yield _Record(file, held, row["bytes"], (manifest.tiles(row) or [""])[-1])


def _recorded(checkpoint: Checkpoint) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """The manifest, and by the path of each file the name that it has there.

    A single file's manifest lies beside it, whatever the file was called when it was written.
    """
    paths = [file.path for file in checkpoint.layout.files()]
    if not checkpoint.owns_folder and len(paths) == 1:
        beside = f"{checkpoint.path(paths[0])}.{manifest.FILE}"
        document = manifest.load_file(beside) if storage.exists(beside) else None
        return document, dict(zip(paths, (document or {}).get("files", ()), strict=False))
    prefix = os.path.relpath(checkpoint.folder, checkpoint.home)
    prefix = "" if prefix == "." else f"{prefix}/"
    return manifest.load(checkpoint.home), {path: prefix + path for path in paths}


def _last_tile_sum(path: str, nbytes: int) -> str:
    start, stop = tile_range(tile_count(nbytes) - 1, nbytes)
    return xxhash.xxh3_128(storage.FileBytes(path).read(start, stop - start)).hexdigest()


def _changed(file: FileLayout, nbytes: int, owner: str | None) -> Finding:
    if owner and owner != file.path:
        return Finding(
            "GP108",
            f"file holds the tensor of {owner}: swapped, or copied over",
            file.path,
            None,
            f"contents of {file.path}",
            f"contents of {owner}",
        )
    start, stop = tile_range(tile_count(nbytes) - 1, nbytes)
    return Finding(
        "GP110",
        "contents changed: the last tile differs from the manifest",
        file.path,
        None,
        None,
        f"bytes {start:,} to {stop:,}",
    )


def repair_command(verdict: Verdict) -> str | None:
    """The command that fetches only what is bad, for the released checkpoint; else None."""
    checkpoint = verdict.survey.checkpoint
    if verdict.survey.format != "ckpt-0" or checkpoint is None:
        return None
    if storage.is_url(checkpoint.folder):
        return None
    if not checkpoint.geometry.is_grok1() or checkpoint.layout.nbytes == 0:
        return None
    fetch = [
        f
        for f in verdict.bad_files
        if f.startswith("tensor")
        and not any(x.file == f and x.code == "GP102" for x in verdict.findings)
    ]
    if not fetch:
        return None
    names = " ".join(f"ckpt-0/{name}" for name in fetch)
    folder = storage.parent(checkpoint.folder)
    return f"hf download xai-org/grok-1 {names} --local-dir {os.path.relpath(folder)}"
