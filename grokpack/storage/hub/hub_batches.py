"""Batches of whole files on their way to the hub: chosen, checked, uploaded, committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.core.progress import Watch
from grokpack.core.tiles import tile_count
from grokpack.storage import hashing, reading
from grokpack.storage.fault_injection import faults
from grokpack.storage.hub.hub_publication_record import SentFile, git_blob
from grokpack.storage.part_files import PART, files_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.storage.change_detection import WrittenParts
    from grokpack.storage.http.request_threads import Request
    from grokpack.storage.hub.hub_client import HubClient

_SMALL_BYTES = 10 << 20  # larger files are never part of a commit's own message
_MOST_SMALL_BYTES = 8 << 20  # of a commit, whose message is held in memory
_MOST_FILES = 200

WaitingFiles = dict[str, "WrittenParts"]
"""Whole files that are not sent yet, by name in the repository."""


def next_batch(waiting: WaitingFiles, least_bytes: int, *, flush: bool) -> WaitingFiles:
    """Return the files that the next commit takes: the first ones; none if they are too few yet.

    Args:
        waiting: Files to send.
        least_bytes: Bytes that are worth a commit.
        flush: True to take what there is.
    """
    batch: WaitingFiles = {}
    nbytes = small = 0
    for name, written in waiting.items():
        batch[name] = written
        nbytes += written.nbytes
        small += written.nbytes if written.nbytes <= _SMALL_BYTES else 0
        if nbytes >= least_bytes or small >= _MOST_SMALL_BYTES or len(batch) == _MOST_FILES:
            return batch
    return batch if flush else {}


def send(
    request: Request[Any],
    client: HubClient,
    place: Callable[[str], str],
    batch: WaitingFiles,
    arrived: Callable[[Mapping[str, SentFile]], bool],
) -> dict[str, SentFile]:
    """Check the files of a batch against their checksums, upload and commit them.

    Args:
        request: The request that this is.
        client: The repository.
        place: Returns the local path of a file by its name.
        batch: The files.
        arrived: Tells whether the repository lists files as they were sent.

    Raises:
        GrokpackError: GP329 if a file is not as the run wrote it; others as `HubClient.commit`.
    """
    paths = {name: place(name) + PART for name in batch}
    sent = {}
    for name, written in batch.items():
        request.check()
        sent[name] = _checked(request, paths[name], written)
    request.check()
    faults.point("upload", ", ".join(batch))
    digests = {name: one.sha256 for name, one in sent.items()}
    additions = client.upload(request, paths, digests)
    request.check()
    faults.point("commit", ", ".join(batch))
    client.commit(request, message(list(batch)), additions, arrived=lambda: arrived(sent))
    return sent


def message(names: list[str]) -> str:
    """Return the message of a commit that adds files."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"Add {names[0]}{more}, written by grokpack"


def _checked(request: Request[Any], path: str, written: WrittenParts) -> SentFile:
    """Read a file and compare every tile with its checksum.

    Raises:
        GrokpackError: GP329 if it is gone or another.
    """
    if reading.size_of(path) != written.nbytes:
        raise files_lost([path])
    watch = Watch(lambda _: None, request.is_cancelled)
    sums, sha256 = hashing.file_sums(path, written.nbytes, watch, sha256=True)
    if sums != [written.sums.get(tile) for tile in range(tile_count(written.nbytes))]:
        raise files_lost([path])
    small = written.nbytes <= _SMALL_BYTES
    blob = git_blob(reading.read_whole(path, _SMALL_BYTES)) if small else None
    return SentFile(written.nbytes, str(sha256), blob)
