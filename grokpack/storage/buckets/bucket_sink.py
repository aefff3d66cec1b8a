"""Output to buckets: one multipart upload per file, completed when all files are whole.

A part is half a tile, and its number gives its position in the file. Tiles can therefore be sent in
any order, each once, and an interrupted run resumes from the parts that it has sent, as long as the
upload is open. The object appears only when its upload is completed. Google Cloud Storage accepts
the same requests.

Limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from grokpack.core.errors import GrokpackError, Place, ServerFailed, WrongResponse
from grokpack.core.optional_imports import import_extra
from grokpack.core.tiles import tile_range
from grokpack.formats import bounded_json
from grokpack.storage import hashing, new_files, reading
from grokpack.storage.buckets.botocore_requests import REFUSED, ask, may_pass
from grokpack.storage.buckets.bucket_client import new_client
from grokpack.storage.buckets.bucket_object_writer import ObjectWriter
from grokpack.storage.fault_injection import faults
from grokpack.storage.http import parallel_requests, range_requests, services
from grokpack.storage.http.aws_settings import EXTRA
from grokpack.storage.http.botocore_failures import ErrorResponse, lasting
from grokpack.storage.http.responses import LastingFailure, RetryableFailure
from grokpack.storage.sink_protocol import PART_BYTES
from grokpack.storage.urls import Url, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from grokpack.core.events import Listener
    from grokpack.storage.change_detection import WrittenParts

T = TypeVar("T")

_LOG = "uploads.jsonl"
_MISSING = ("404", "NoSuchKey", "NotFound")
_VANISHED = "NoSuchUpload"
_HINTS = {
    "NoSuchBucket": "create the bucket first, or give another `--out`",
    _VANISHED: "run the same command again; what was lost is written anew",
}
_AGAIN = "see that the bucket can be reached, and run the same command again; it continues"


class BucketSink:
    """Sink for a bucket; it implements `storage.sink_protocol.Sink`.

    Args:
        out: The output's URL.
        journal: Local folder of the log of open uploads.
    """

    held_bytes = PART_BYTES + PART_BYTES // 4  # a growing buffer may be larger than its contents
    client_bytes = 48 << 20  # botocore's modules and descriptions of the service, and connections
    disk, waiting_bytes, offer = None, None, None

    def __init__(self, out: str, journal: str) -> None:
        url = parse(out)
        self.out, self._journal = out, journal
        self._scheme, self.bucket = url.scheme, url.host
        self._site = services.bucket(url)
        self._client: Any = self._carried_out(out, (), lambda: new_client(self._site))
        self._log = os.path.join(journal, _LOG)
        self._guard = threading.Lock()
        self._open: dict[str, str] | None = None
        self._sent: dict[str, dict[int, Any]] = {}

    def __reduce__(self) -> tuple[type[BucketSink], tuple[str, str]]:
        """Pickle the URL and the folder: another process makes its own client."""
        return type(self), (self.out, self._journal)

    def allocated_bytes(self, path: str) -> int:  # noqa: ARG002  # see `Sink`
        """Return zero: nothing is on a disk."""
        return 0

    def check(self) -> None:
        """Do nothing: `prepare` asks the bucket."""

    def prepare(self, plan: Mapping[str, Any]) -> None:  # noqa: ARG002  # see `Sink`
        """Check that the bucket accepts uploads, and list the open ones of an earlier run."""
        key = f"{_key(self.out)}/grokpack-can-write".strip("/")
        row = self._ask("prepare", self.out, "create_multipart_upload", Key=key)
        self._abort("", self.out, key, row["UploadId"])
        root = str(Url(self._scheme, self.bucket, ""))
        keys = list(self._uploads())
        parts_of = parallel_requests.map_all(lambda key: self._parts(f"{root}/{key}") or {}, keys)
        self._sent.update(zip(keys, parts_of, strict=True))

    def create(self, path: str, nbytes: int, known: int | None = None) -> None:  # noqa: ARG002
        """Discard the upload of an empty file; others begin with their first part."""
        if nbytes:
            return
        key = _key(path)
        with self._guard:
            upload = self._uploads().pop(key, None)
            self._sent.pop(key, None)
        if upload is not None:
            self._abort("abort", path, key, upload)

    def tickets(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Return the open upload of each file, by key."""
        return {_key(path): self._upload(path) for path in paths}

    def accept(self, tickets: Mapping[str, str]) -> None:
        """Add uploads that another process has opened."""
        with self._guard:
            self._uploads().update(tickets)

    def writer(self, path: str, nbytes: int | None) -> ObjectWriter:
        """Return a writer of a file's parts."""
        return ObjectWriter(partial(self._send, path), path, nbytes)

    def _send(self, path: str, number: int, data: bytearray) -> None:
        """Send one part of a file."""
        key, upload = _key(path), self._upload(path)
        call = "upload_part"
        self._ask("upload", path, call, Key=key, UploadId=upload, PartNumber=number, Body=data)

    def reopen(self, path: str, written: WrittenParts, lost: set[int]) -> None:
        """Do nothing: parts are sent again, and an object is replaced when whole."""

    def lost_tiles(self, path: str, written: WrittenParts) -> set[int]:
        """Return the tiles whose parts are missing, or have another size, in the bucket."""
        sent, nbytes = self._sent.get(_key(path)), written.nbytes
        if not sent:
            return set() if self.size_of(path) == nbytes else set(written.sums)
        lost = set()
        for tile in written.sums:
            start, stop = tile_range(tile, nbytes)
            for number in range(start // PART_BYTES, -(-stop // PART_BYTES)):
                size = min(PART_BYTES, nbytes - number * PART_BYTES)
                if sent.get(number + 1, {}).get("Size") != size:
                    lost.add(tile)
        return lost

    def lost_files(self, files: Mapping[str, WrittenParts], *, published: bool) -> list[str]:
        """Return the published files of another size; others are checked on completion."""
        if not published:
            return []
        sizes = self._objects(self.out)
        return [path for path, row in files.items() if sizes.get(_key(path)) != row.nbytes]

    def publish_all(self, files: Mapping[str, WrittenParts], listen: Listener) -> None:  # noqa: ARG002  # see `Sink`
        """Complete the uploads of all files, several at a time."""
        parallel_requests.map_all(lambda path: self._publish(path, files[path].nbytes), list(files))

    def _publish(self, path: str, nbytes: int) -> None:
        """Complete the upload of a file."""
        if nbytes == 0:
            self._put(path, b"")
            return
        sent = self._parts(path)
        if sent is None and self.size_of(path) == nbytes:
            return  # completed by a run that was killed before it wrote the manifest
        if sent is None or sum(row["Size"] for row in sent.values()) != nbytes:
            raise self._failure(path, _VANISHED, "parts that were sent are gone")
        key, rows = _key(path), {"Parts": [_named(sent[number]) for number in sorted(sent)]}
        where = {"Key": key, "UploadId": self._uploads()[key]}
        call = "complete_multipart_upload"
        done = self._ask("publish", path, call, (_VANISHED,), **where, MultipartUpload=rows)
        if done is None and self.size_of(path) != nbytes:  # otherwise only the response was lost
            raise self._failure(path, _VANISHED, f"404 {_VANISHED}")

    def settle(self, folders: set[str]) -> None:
        """Do nothing: a completed object is durable."""

    def write_small(self, files: Mapping[str, bytes]) -> None:
        """Write small objects, each in one request."""
        for path, data in files.items():
            self._put(path, data)

    def conclude(self, path: str, data: bytes) -> None:
        """Write the manifest."""
        self._put(path, data)

    def resume_conclusion(self, path: str) -> None:
        """Do nothing: the manifest is the last file."""

    def abandon(self) -> None:
        """Do nothing: uploads stay open, to be continued."""

    def _put(self, path: str, data: bytes) -> None:
        self._ask("write_whole", path, "put_object", Key=_key(path), Body=data)

    def size_of(self, path: str) -> int | None:
        """Return the size of an object; None if there is none."""
        response = self._ask("", path, "head_object", _MISSING, Key=_key(path))
        return None if response is None else int(response["ContentLength"])

    def names(self, folder: str) -> list[str]:
        """Return the first thousand names in a folder."""
        prefix = _prefix(folder)
        response = self._ask("", folder, "list_objects_v2", Prefix=prefix)
        return [row["Key"][len(prefix) :] for row in response.get("Contents", [])]

    def is_free_or_own(self, path: str, written: WrittenParts | None, inode: int | None) -> bool:  # noqa: ARG002
        """Return whether no object is there, or one whose size and one tile match."""
        nbytes = self.size_of(path)
        if nbytes is None or written is None or nbytes != written.nbytes:
            return nbytes is None
        return hashing.has_a_tile(path, nbytes, written.sums)

    def foreign_files(self, root: str, own: Collection[str]) -> list[str]:
        """Return the objects below a folder other than these files."""
        site, keys = str(Url(self._scheme, self.bucket, "")), {_key(path) for path in own}
        return [f"{site}/{key}" for key in self._objects(root) if key not in keys]

    def discard(self, root: str, paths: Sequence[str]) -> None:  # noqa: ARG002  # see `Sink`
        """Delete objects, and abort the uploads that this output's log lists; no others."""
        parallel_requests.map_all(self._remove, paths)
        for key, upload in self._uploads().items():
            self._abort("abort", self.out, key, upload)
        with self._guard:
            self._open, self._sent = {}, {}
            new_files.remove(self._log)

    def _remove(self, path: str) -> None:
        self._ask("remove", path, "delete_object", Key=_key(path))

    def _objects(self, folder: str) -> dict[str, int]:
        """Return the sizes of all objects below a folder, by key."""
        prefix = _prefix(folder)
        rows = self._rows(folder, "list_objects_v2", "Contents", Prefix=prefix) or []
        return {row["Key"]: row["Size"] for row in rows}

    def _upload(self, path: str) -> str:
        """Return the open upload of a file; begin one and log it if there is none."""
        key = _key(path)
        with self._guard:
            known = self._uploads()
            if key not in known:
                row = self._ask("create", path, "create_multipart_upload", Key=key)
                new_files.append_line(self._log, json.dumps([key, row["UploadId"]]))
                known[key] = row["UploadId"]
            return known[key]

    def _uploads(self) -> dict[str, str]:
        """Return the open uploads by key: the last one of each, without torn lines of the log."""
        if self._open is None:
            self._open = {}
            for line in reading.lines(self._log):
                with contextlib.suppress(GrokpackError, TypeError, ValueError):
                    key, upload = bounded_json.parse(line.encode())
                    self._open[key] = upload
        return self._open

    def _parts(self, path: str) -> dict[int, Any] | None:
        """Return the parts of a file's upload by number; None if it is no longer open."""
        key = _key(path)
        upload = self._uploads().get(key)
        if upload is None:
            return None
        rows = self._rows(path, "list_parts", "Parts", (_VANISHED,), Key=key, UploadId=upload)
        if rows is None:
            del self._uploads()[key]
            return None
        return {row["PartNumber"]: row for row in rows}

    def _abort(self, operation: str, path: str, key: str, upload: str) -> None:
        """Abort an upload, if it is open."""
        where = {"Key": key, "UploadId": upload}
        self._ask(operation, path, "abort_multipart_upload", (_VANISHED,), **where)

    def _ask(
        self,
        operation: str,
        path: str,
        call: str,
        absent: tuple[str, ...] = (),
        **wanted: Any,  # noqa: ANN401  # what botocore takes
    ) -> Any:  # noqa: ANN401  # what botocore answers
        """Send one request through botocore, and announce it to `faults` if it changes anything.

        Args:
            operation: Name that `faults` is given; empty for requests that only read.
            path: The file that it is about.
            call: The client's method.
            absent: Error codes that mean that the object does not exist: the result is then None.
            wanted: Arguments of the method.

        Raises:
            GrokpackError: GP328 if the bucket refuses it, GP221 if it does not respond.
        """
        if operation:
            faults.point(operation, path)
        method = getattr(self._client, call)
        return self._carried_out(path, absent, lambda: method(Bucket=self.bucket, **wanted))

    def _rows(
        self,
        path: str,
        call: str,
        name: str,
        absent: tuple[str, ...] = (),
        **wanted: Any,  # noqa: ANN401  # what botocore takes
    ) -> list[dict[str, Any]] | None:
        """Return all rows of a listing, from all of its pages; see `_ask` for the arguments."""
        pages = self._client.get_paginator(call).paginate(Bucket=self.bucket, **wanted)
        listed = self._carried_out(path, absent, lambda: list(pages))
        if listed and listed[-1].get("IsTruncated"):
            raise WrongResponse("the bucket does not say where its listing goes on", Place(path))
        return None if listed is None else [row for page in listed for row in page.get(name, [])]

    def _carried_out(self, path: str, absent: tuple[str, ...], work: Callable[[], T]) -> T | None:
        errors = import_extra("botocore.exceptions", EXTRA)

        def attempt() -> T:
            self._site.credentials.find()  # here, because botocore would renew them in silence
            return work()

        try:
            return ask(attempt)
        except RetryableFailure as trouble:
            raise _busy(path, trouble.reason) from trouble
        except LastingFailure as failure:
            raise range_requests.out_of_reach(path, failure) from failure
        except (errors.ClientError, errors.BotoCoreError) as error:
            response = ErrorResponse.of(error)
            if response.reason in absent:
                return None
            out_of_reach = lasting(error)
            if out_of_reach is not None:
                raise range_requests.out_of_reach(path, out_of_reach) from error
            said = f"{response.status} {response.reason}" if response.status else str(error)
            raise (
                _busy(path, said) if may_pass(error) else self._failure(path, response.reason, said)
            ) from error

    def _failure(self, path: str, code: str, response: str) -> GrokpackError:
        hint = _HINTS.get(code, _AGAIN)
        if code in REFUSED:
            hint = self._site.refused_hint(response)
        what = "the bucket does not take the output"
        return GrokpackError("GP328", what, Place(path), (("answer", response),), hint)


def _busy(path: str, response: str) -> ServerFailed:
    what = "the bucket does not answer, or is busy"
    return ServerFailed(what, Place(path), (("answer", response),), _AGAIN)


def _key(path: str) -> str:
    return parse(path).path


def _prefix(folder: str) -> str:
    return f"{key}/" if (key := _key(folder)) else ""


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """Return a part as completing an upload takes it: with the checksum it was sent with."""
    return {k: row[k] for k in ("PartNumber", "ETag", "ChecksumCRC32") if row.get(k)}
