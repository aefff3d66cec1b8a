"""Servers on loopback, and what goes wrong with them: they stall, break off, lie and change."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from grokpack import storage
from grokpack.storage.http import connections, redirects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its number, and what it asked for or sent."""

    number: int
    path: str
    query: str
    headers: dict[str, str]
    method: str = "GET"
    body: bytes = b""

    @property
    def range(self) -> tuple[int, int] | None:
        """First byte and one past the last."""
        text = self.headers.get("range")
        if text is None:
            return None
        start, stop = text.removeprefix("bytes=").split("-")
        return int(start), int(stop) + 1


@dataclass(slots=True)
class Answer:
    """What the server is about to send; a fault changes it.

    Attributes:
        cut: Bytes of the body after which the connection breaks.
        stall: Bytes of the body after which nothing comes any more.
        drip_s: Seconds between one byte and the next.
        chunked: Whether the body comes in chunks, its length untold.
    """

    status: int
    headers: dict[str, str]
    body: bytes = b""
    cut: int | None = None
    stall: int | None = None
    drip_s: float | None = None
    chunked: bool = False


@dataclass(slots=True)
class Server:
    """A server of the files in a folder, and a record of what it was asked."""

    root: Path
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    sent_bytes: int = 0
    fault: Callable[[Asked, Answer], None] | None = None
    route: Callable[[Asked], Answer | None] | None = None
    over: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def answer(
        self, path: str, headers: dict[str, str], method: str = "GET", body: bytes = b""
    ) -> Answer:
        """What is sent for a request."""
        parts = urlsplit(path)
        name = unquote(parts.path).lstrip("/")
        with self.guard:
            asked = Asked(len(self.asked), name, parts.query, headers, method, body)
            self.asked.append(asked)
        answer = (self.route(asked) if self.route else None) or self.file(asked)
        if self.fault is not None:
            self.fault(asked, answer)
        return answer

    def file(self, asked: Asked, path: str | None = None) -> Answer:
        """A range of a file, or all of it."""
        place = self.root / (asked.path if path is None else path)
        if not place.is_file():
            return Answer(404, {})
        state = place.stat()
        tag = f'"{state.st_mtime_ns:x}-{state.st_size:x}"'
        headers = {"ETag": tag, "Accept-Ranges": "bytes"}
        if asked.headers.get("if-match", tag) != tag:
            return Answer(412, {})
        size, wanted = state.st_size, asked.range
        if wanted is None:
            return Answer(200, headers, place.read_bytes())
        start, stop = wanted[0], min(wanted[1], size)
        if start >= stop:
            return Answer(416, headers | {"Content-Range": f"bytes */{size}"})
        with place.open("rb") as file:
            file.seek(start)
            body = file.read(stop - start)
        return Answer(206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}, body)

    def forget(self) -> None:
        """Begin the record anew."""
        self.asked.clear()
        self.sent_bytes = 0


class Crowd:
    """Requests that each wait a while.

    Attributes:
        most: How many waited at the same time.
    """

    def __init__(self, seconds: float) -> None:
        self.most = 0
        self._seconds, self._waiting, self._guard = seconds, 0, threading.Lock()

    def wait(self) -> None:
        """Let one of them wait."""
        with self._guard:
            self._waiting += 1
            self.most = max(self.most, self._waiting)
        time.sleep(self._seconds)
        with self._guard:
            self._waiting -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "loopback", ""
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    place: Server

    def do_GET(self) -> None:
        asked = {name.lower(): text for name, text in self.headers.items()}
        sent = self.rfile.read(int(asked.get("content-length", 0)))
        answer = self.place.answer(self.path, asked, self.command, sent)
        self.send_response(answer.status)
        length = (
            {"Transfer-Encoding": "chunked"}
            if answer.chunked
            else {"Content-Length": str(len(answer.body))}
        )
        for name, text in (length | answer.headers).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        ends = [end for end in (answer.cut, answer.stall) if end is not None]
        body = answer.body[: ends[0]] if ends else answer.body
        with self.place.guard:
            self.place.sent_bytes += len(body)
        if answer.drip_s is not None:
            self._drip(body, answer.drip_s)
        self.wfile.write(_chunks(body) if answer.chunked else body)
        if ends:
            self.wfile.flush()
            self.close_connection = True
        if answer.stall is not None:
            self.place.over.wait()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815  # names that the library looks for

    def do_CONNECT(self) -> None:
        """Refuse a tunnel, with whatever status is routed to it."""
        asked = {name.lower(): text for name, text in self.headers.items()}
        self.send_response(self.place.answer(f"/{self.path}", asked).status)
        self.end_headers()
        self.close_connection = True

    def _drip(self, body: bytes, pause_s: float) -> None:
        for at in range(len(body)):
            self.wfile.write(body[at : at + 1])
            self.wfile.flush()
            if self.place.over.wait(pause_s):
                return

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _chunks(body: bytes) -> bytes:
    """A body in chunks of a thousand bytes."""
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no error of the server's."""


@contextlib.contextmanager
def serving(root: Path, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve a folder on loopback as long as the block runs; over TLS with a context."""
    place = Server(root)
    handler = type("Handler", (_Handler,), {"place": place})
    with _Threads(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        place.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        storage.forget(place.url)  # another may have had this port
        redirects.answered.pop(urlsplit(place.url).netloc, None)
        try:
            yield place
        finally:
            connections.forget()
            place.over.set()
            server.shutdown()
            thread.join()


def connections_made(monkeypatch: pytest.MonkeyPatch) -> list[connections.AbortableConnection]:
    """Connections that are made from now on; the idle ones are closed."""
    made: list[connections.AbortableConnection] = []
    connect = connections.AbortableConnection.connect

    def counted(line: connections.AbortableConnection) -> None:
        made.append(line)
        connect(line)

    monkeypatch.setattr(connections.AbortableConnection, "connect", counted)
    connections.forget()
    return made


_FILES = "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "HF_TOKEN_PATH"


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pauses that do not hold up a test, and hide the keys of whoever runs it."""
    from grokpack.storage.http import retry_policy, services

    monkeypatch.setattr(retry_policy, "_FIRST_DELAY_S", 0.001)
    for name in list(os.environ):
        own = name.startswith(("AWS_", "HF_", "GOOGLE_", "GROKPACK_", "SSL_CERT_"))
        if own or name.lower().endswith(("_proxy", "_ca_bundle")):
            monkeypatch.delenv(name)
    for name in (*_FILES, "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, "/nowhere")
    for name in ("AWS_EC2_METADATA_DISABLED", "NO_GCE_CHECK"):  # this machine's own role
        monkeypatch.setenv(name, "true")
    services.forget()
    connections.forget()
