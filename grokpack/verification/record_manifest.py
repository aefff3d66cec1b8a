"""Recording of sizes and checksums in a manifest, for `grokpack manifest`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import companion_files, manifest_file, manifest_paths
from grokpack.core.errors import GrokpackError, Interrupted, Place
from grokpack.core.events import Listener, Started, ignore_event
from grokpack.core.progress import phase, watching
from grokpack.execution.workers import Job, WorkerPool, map_unordered
from grokpack.storage import hashing
from grokpack.storage.reading_threads import threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.manifest_json import FileRowJson
    from grokpack.core.progress import Watch


@dataclass(frozen=True, slots=True)
class RecordedManifest:
    """Manifest that was written.

    Attributes:
        path: The manifest.
        files: Number of files that it names.
        nbytes: Bytes of these files.
    """

    path: str
    files: int
    nbytes: int


def record(
    checkpoint: Checkpoint,
    out: str | None = None,
    *,
    sha256: bool = False,
    stopping: Callable[[], bool] = bool,
    listen: Listener = ignore_event,
    workers: int | None = None,
) -> RecordedManifest:
    """Read every file of a checkpoint, and those beside its weights, and write a manifest of it.

    The manifest says what the files are now. Whether that is right, it cannot know.

    Args:
        checkpoint: The checkpoint with the files.
        out: Path of the manifest; beside the checkpoint by default, or in the user's cache if
            that cannot be written to.
        sha256: Whether to add the sha256 of each file, at about half the speed.
        stopping: Callback that tells, between tiles, whether to end with GP403.
        listen: Receives progress.
        workers: Threads; as many as are useful by default.

    Raises:
        GrokpackError: GP327 where a manifest is there, GP403 when stopped.
    """
    _refuse_second(checkpoint, out)
    place = out or manifest_paths.writable(manifest_paths.manifests(checkpoint))
    beside = companion_files.present(checkpoint)
    held = _stored_files(checkpoint) | beside
    sizes = {name: storage.stamp(path)[0] for name, path in held.items()}
    total = sum(sizes.values())
    # The largest first, so that no thread is left alone with one at the end.
    order = sorted(held.items(), key=lambda item: -sizes[item[0]])
    job = Job(_Recorder, (sha256,))
    pool = WorkerPool(workers or threads(checkpoint.folder))
    with phase(Started("manifest", total), listen):
        rows = dict(map_unordered(job, order, pool, watching(listen, stopping)))
        if stopping():
            raise Interrupted("stopped; no manifest was written")
        rendered = manifest_file.render_rows(
            {
                "command": "manifest",
                "format": checkpoint.format,
                "licence": checkpoint.model.family.publication.spdx,
                "source": checkpoint.identity(),
                "finals": {name: rows[name] for name in sorted(beside)},
            },
            {name: row for name, row in rows.items() if name not in beside},
            {},
        )
        storage.write_whole(storage.absolute(place), rendered, replace=False)
    return RecordedManifest(place, len(rows), total)


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Reader that hashes files; one serves all threads."""

    watch: Watch
    sha256: bool

    def __call__(self, item: tuple[str, str]) -> tuple[str, FileRowJson]:
        """Return a file's row in the manifest."""
        name, path = item
        nbytes = storage.stamp(path)[0]
        tiles, whole = hashing.file_sums(path, nbytes, self.watch, sha256=self.sha256)
        return name, manifest_file.file_row(nbytes, tiles, whole)


def _stored_files(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the path of each stored file, compressed or not, by its name in the manifest."""
    prefix = manifest_paths.below_home(checkpoint) if checkpoint.owns_folder else ""
    stored = {}
    for file in checkpoint.layout.files():
        plain = checkpoint.path(file.path)
        path = storage.stored(plain)
        stored[prefix + file.path + path.removeprefix(plain)] = path
    return stored


def _refuse_second(checkpoint: Checkpoint, out: str | None) -> None:
    """Refuse to replace a manifest: it may be the only record of what the files once were."""
    for place in (out,) if out else manifest_paths.manifests(checkpoint):
        if storage.exists(place):
            hint = "`verify --data` compares with it; `-o FILE` writes another elsewhere"
            raise GrokpackError("GP327", "there is a manifest already", Place(place), hint=hint)
