"""A hub to publish to, on loopback: repositories, plain LFS in one part or several, and commits.

It speaks what `huggingface_hub` asks of huggingface.co when Xet is off, and lists and serves files
as the hub does.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from tests.support.servers import Answer, Asked, Server, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN, OWNER = "hf_rightrightright", "me"  # of nobody
LARGE_BYTES = 2000
"""Files from this size on go over LFS, as those of ten megabytes do at the hub."""
PART_BYTES = 100_000
"""Larger ones go in parts of this size."""
PAGE = 7


@dataclass(frozen=True)
class Blob:
    """A file as a commit has it: its bytes, or the sha256 of an object of LFS."""

    data: bytes = b""
    oid: str = ""


@dataclass
class Repository:
    """A repository: the files of each of its branches, commit after commit.

    Attributes:
        history: Commit and files of each branch, newest last.
    """

    private: bool = False
    history: dict[str, list[tuple[str, dict[str, Blob]]]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def add(self, branch: str, files: dict[str, Blob], message: str) -> str:
        """Add a commit and return its name."""
        commit = hashlib.sha1(f"{branch} {len(self.messages)}".encode()).hexdigest()  # noqa: S324
        self.history.setdefault(branch, []).append((commit, files))
        self.messages.append(message)
        return commit

    def find(self, revision: str) -> tuple[str, dict[str, Blob]] | None:
        """The commit that a revision stands for, and its files."""
        if revision in self.history:
            return self.history[revision][-1]
        commits = [found for branch in self.history.values() for found in branch]
        return next((found for found in commits if found[0] == revision), None)


@dataclass
class WritableHub:
    """A hub and what is in it.

    Attributes:
        server: The server, with its faults and what it was asked.
        repositories: By name.
        objects: Contents of LFS by sha256.
        parts: Parts of uploads that are not complete.
        fault: Answers in the hub's place, where it returns something; nothing happens then.
    """

    server: Server
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    fault: Callable[[Asked], Answer | None] = lambda _: None

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Contents of a repository's files, but for the one that the hub makes."""
        found = self.repositories[name].find(revision)
        assert found is not None
        return {
            path: self.contents(blob) for path, blob in found[1].items() if path != ".gitattributes"
        }

    def contents(self, blob: Blob) -> bytes:
        """The bytes of a file."""
        return self.objects[blob.oid] if blob.oid else blob.data

    def counted(self, method: str, part: str) -> int:
        """How many requests there were whose path has a part."""
        return sum(a.method == method and part in a.path for a in self.server.asked)

    def create(self, name: str, *, private: bool = False) -> Repository:
        """Create a repository as the site does."""
        made = Repository(private)
        made.add("main", {".gitattributes": Blob(b"*.safetensors filter=lfs\n")}, "initial commit")
        self.repositories[name] = made
        return made

    def answer(self, asked: Asked) -> Answer:
        """What the hub says."""
        fault = self.fault(asked)
        if fault is not None:
            return fault
        if asked.path.startswith("lfs/"):
            return self._object(asked)
        sent = asked.headers.get("authorization")
        if sent not in (None, f"Bearer {TOKEN}"):
            return Answer(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        name, repository, verb, rest = self._named(asked.path)
        if repository is None or (repository.private and sent is None):
            return self._of_no_repository(asked, name, signed=sent is not None)
        if verb == ".git":
            return self._batch(json.loads(asked.body))
        return self._of_repository(repository, asked, verb, rest)

    def _named(self, path: str) -> tuple[str, Repository | None, str, list[str]]:
        """Name of the repository that a path is about, the repository, what is asked, the rest."""
        words = path.removeprefix("api/models/").split("/")
        name, git, _ = "/".join(words[:2]).partition(".git")
        verb, *rest = words[2:] or ["revision", "main"]
        return name, self.repositories.get(name), git or verb, rest

    def _of_no_repository(self, asked: Asked, name: str, *, signed: bool) -> Answer:
        if asked.path == "api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if name == "api/repos" and signed:
            return self._create(json.loads(asked.body))
        status = 404 if signed else 401
        return _json({"error": "Repository not found"}, status, {"X-Error-Code": "RepoNotFound"})

    def _create(self, wanted: dict[str, Any]) -> Answer:
        name = f"{wanted['organization']}/{wanted['name']}"
        place = {"url": f"{self.server.url}/{name}"}
        if wanted["organization"] != OWNER:
            message = "You don't have the rights to create a model under this namespace"
            return _json({"error": message}, 403, {"X-Error-Message": message})
        if name in self.repositories:
            return _json({"error": "You already created this model repo", **place}, 409)
        private = wanted.get("private") or wanted.get("visibility") == "private"  # before and now
        self.create(name, private=bool(private))
        return _json(place)

    def _of_repository(
        self, repository: Repository, asked: Asked, verb: str, rest: list[str]
    ) -> Answer:
        revision = unquote(rest[0])
        found = repository.find(revision)
        if found is None:
            gone = {"X-Error-Code": "RevisionNotFound"}
            return _json({"error": f"Invalid rev id: {revision}"}, 404, gone)
        below = "/".join(rest[1:])
        answers: dict[str, Callable[[], Answer]] = {
            "commit": lambda: self._commit(repository, revision, asked.body),
            "preupload": lambda: self._modes(found[1], json.loads(asked.body)),
            "tree": lambda: self._tree(found[1], asked, below),
            "resolve": lambda: self._resolve(found[1], below, asked),
            "revision": lambda: _json({"sha": found[0], "private": repository.private}),
        }
        return answers[verb]() if verb in answers else Answer(404, {})  # Xet, for one

    def _modes(self, files: dict[str, Blob], wanted: dict[str, Any]) -> Answer:
        rows = [
            {
                "path": row["path"],
                "uploadMode": "lfs" if row["size"] >= LARGE_BYTES else "regular",
                "shouldIgnore": False,
                "oid": _oid(files[row["path"]]) if row["path"] in files else None,
            }
            for row in wanted["files"]
        ]
        return _json({"files": rows})

    def _batch(self, wanted: dict[str, Any]) -> Answer:
        return _json({"transfer": "basic", "objects": [self._upload(o) for o in wanted["objects"]]})

    def _upload(self, wanted: dict[str, Any]) -> dict[str, Any]:
        oid, size = wanted["oid"], wanted["size"]
        row: dict[str, Any] = {"oid": oid, "size": size}
        if oid in self.objects:
            return row
        place = f"{self.server.url}/lfs/{oid}"
        upload: dict[str, Any] = {"href": place}
        if size > PART_BYTES:
            count = -(-size // PART_BYTES)
            parts = {str(n): f"{place}/{n}" for n in range(1, count + 1)}
            upload["header"] = {"chunk_size": str(PART_BYTES), **parts}
        verify = {"href": f"{self.server.url}/lfs/{oid}/verify"}
        return {**row, "actions": {"upload": upload, "verify": verify}}

    def _object(self, asked: Asked) -> Answer:
        _, oid, *step = asked.path.split("/")
        if asked.method in ("GET", "HEAD"):
            return _ranged(self.objects[oid], asked, oid)
        if step == ["verify"]:
            return Answer(200 if oid in self.objects else 404, {})
        if asked.method == "PUT" and step:
            self.parts[oid, int(step[0])] = asked.body
            return Answer(200, {"ETag": f'"{step[0]}"'})
        body = asked.body
        if asked.method == "POST":
            numbers = [part["partNumber"] for part in json.loads(asked.body)["parts"]]
            body = b"".join(self.parts.pop((oid, number)) for number in numbers)
        if hashlib.sha256(body).hexdigest() != oid:
            return Answer(400, {})
        self.objects[oid] = body
        return Answer(200, {})

    def _commit(self, repository: Repository, revision: str, body: bytes) -> Answer:
        if revision not in repository.history:
            return _json({"error": "not a branch"}, 400)
        head, before = repository.history[revision][-1]
        header, *rows = map(json.loads, body.splitlines())
        if header["value"].get("parentCommit", head) != head:
            return _json({"error": "A commit has happened since."}, 412)
        files, message = dict(before), header["value"]["summary"]
        for row in rows:
            kind, value = row["key"], row["value"]
            if kind == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]))
            elif kind == "lfsFile":
                if value["oid"] not in self.objects:
                    return _json({"error": "LFS pointer to an object that does not exist"}, 400)
                files[value["path"]] = Blob(oid=value["oid"])
            elif files.pop(value["path"], None) is None:
                return _json({"error": "no such file"}, 404, {"X-Error-Code": "EntryNotFound"})
        commit = repository.add(revision, files, message)
        return _json({"commitUrl": f"{self.server.url}/commit/{commit}", "commitOid": commit})

    def _tree(self, files: dict[str, Blob], asked: Asked, below: str) -> Answer:
        query = parse_qs(asked.query)
        rows = _rows(files, self, below, deep="recursive" in query)
        if not rows and below:
            return _json({"error": "no entry"}, 404, {"X-Error-Code": "EntryNotFound"})
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(rows):
            more = "recursive=true&" * ("recursive" in query) + f"cursor={start + PAGE}"
            headers["Link"] = f'<{self.server.url}/{asked.path}?{more}>; rel="next"'
        return _json(rows[start : start + PAGE], 200, headers)

    def _resolve(self, files: dict[str, Blob], path: str, asked: Asked) -> Answer:
        blob = files.get(path)
        if blob is None:
            return Answer(404, {"X-Error-Code": "EntryNotFound"})
        if blob.oid:
            return Answer(302, {"Location": f"{self.server.url}/lfs/{blob.oid}"})
        return _ranged(blob.data, asked, _oid(blob))


def _oid(blob: Blob) -> str:
    """What the hub compares: sha256 of an object, or git's hash."""
    head = b"blob %d\0" % len(blob.data)
    return blob.oid or hashlib.sha1(head + blob.data).hexdigest()  # noqa: S324


def _rows(files: dict[str, Blob], hub: WritableHub, below: str, *, deep: bool) -> list[Any]:
    """Rows of a listing."""
    prefix = f"{below}/" if below else ""
    rows: dict[str, Any] = {}
    for path, blob in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        first, slash, _ = path[len(prefix) :].partition("/")
        if slash and not deep:
            folder = prefix + first
            rows[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            continue
        size = len(hub.contents(blob))
        row = {"type": "file", "path": path, "size": size, "oid": _oid(blob)}
        if blob.oid:
            row |= {"oid": "f" * 40, "lfs": {"oid": blob.oid, "size": size, "pointerSize": 134}}
        rows[path] = row
    return list(rows.values())


def _ranged(data: bytes, asked: Asked, tag: str) -> Answer:
    """All bytes of a file, or a range."""
    headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
    if asked.range is None:
        return Answer(200, headers, data)
    start, stop = asked.range[0], min(asked.range[1], len(data))
    if start >= stop:
        return Answer(416, {**headers, "Content-Range": f"bytes */{len(data)}"})
    span = f"bytes {start}-{stop - 1}/{len(data)}"
    return Answer(206, {**headers, "Content-Range": span}, data[start:stop])


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(
        status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode()
    )


@contextlib.contextmanager
def hub_on_loopback(root: Path) -> Iterator[WritableHub]:
    """A hub as long as the block runs."""
    with serving(root) as server:
        hub = WritableHub(server)
        server.route = hub.answer
        yield hub
