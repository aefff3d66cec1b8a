"""A server that speaks as Hugging Face's hub does, as far as listing a repository goes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL_BYTES = 1000  # smaller files are git's own, without a sha256
PAGE = 5


@dataclass
class Hub:
    """One repository, whose files are those of a folder.

    Attributes:
        url: Of the server.
        files: Rows of the listing.
        repository: Its name.
        revisions: Names that stand for the one commit.
        gated: Whether a token is asked for.
        failing: Statuses of the next answers.
        asked: Paths that were asked for.
    """

    url: str
    files: list[dict[str, Any]]
    repository: str = "xai-org/grok-1"
    revisions: set[str] = field(default_factory=lambda: {"main", "v1", COMMIT})
    gated: bool = False
    failing: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def rows(folder: Path) -> list[dict[str, Any]]:
    """What the hub says of a folder's files."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found.append({"type": "directory", "path": name, "oid": "0" * 40, "size": 0})
            continue
        data = path.read_bytes()
        blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()  # noqa: S324
        row: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": blob}
        if len(data) >= SMALL_BYTES:
            digest = hashlib.sha256(data).hexdigest()
            row["oid"] = "f" * 40  # of the pointer
            row["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
        found.append(row)
    return found


def metadata(folder: Path, listed: list[dict[str, Any]]) -> None:
    """What `hf download --local-dir` leaves in a folder."""
    for row in listed:
        if row["type"] == "file":
            path = folder / ".cache" / "huggingface" / "download" / f"{row['path']}.metadata"
            path.parent.mkdir(parents=True, exist_ok=True)
            etag = row["lfs"]["oid"] if "lfs" in row else row["oid"]
            path.write_text(f"{COMMIT}\n{etag}\n1711000000.0\n", encoding="utf-8")


@contextmanager
def serving(folder: Path, repository: str = Hub.repository) -> Iterator[Hub]:
    """The hub on loopback."""
    hub = Hub("", rows(folder), repository)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            hub.asked.append(self.path)
            status, body, link = _answer(hub, url.path, parse_qs(url.query), dict(self.headers))
            self.send_response(status)
            if status == 403:
                self.send_header("X-Error-Code", "GatedRepo")
            elif status == 404 and b"revision" in body:
                self.send_header("X-Error-Code", "RevisionNotFound")
            elif status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            if link:
                self.send_header("Link", f'<{hub.url}{link}>; rel="next"')
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(
    hub: Hub, path: str, query: dict[str, list[str]], headers: dict[str, str]
) -> tuple[int, bytes, str]:
    if hub.failing:
        return hub.failing.pop(0), b"{}", ""
    if hub.gated and headers.get("Authorization") != "Bearer right":
        return 403, b'{"error": "gated"}', ""
    parts = path.removeprefix("/api/models/").split("/")
    if "/".join(parts[:2]) != hub.repository:
        return 404, b'{"error": "no repository"}', ""
    if len(parts) > 3 and parts[3] not in hub.revisions:
        return 404, b'{"error": "no revision"}', ""
    if parts[2:3] != ["tree"]:
        return 200, json.dumps({"id": hub.repository, "sha": COMMIT, "siblings": []}).encode(), ""
    start = int(query.get("cursor", ["0"])[0])
    more = start + PAGE < len(hub.files)
    link = f"{path}?recursive=true&cursor={start + PAGE}" if more else ""
    return 200, json.dumps(hub.files[start : start + PAGE]).encode(), link
