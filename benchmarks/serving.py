"""A server of byte ranges on loopback that costs little: `python -m benchmarks.serving DIR`.

It prints its URL; the kernel sends the files. `--delay 0.05` makes it as far as another country.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import unquote

_PATH = re.compile(rb"GET (\S*) HTTP/1.1\r\n")
_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d+)\r\n", re.IGNORECASE)
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_UNPACED = b"reno"
"""Way to send without pauses. BBR, the default of some systems, paces on loopback too: twice the
processor time of the server, and that of the client's reads besides."""


class _Handler(StreamRequestHandler):
    disable_nagle_algorithm = True
    root = ""
    delay_s = 0.0

    def handle(self) -> None:
        """Answer one request after another, each of a range: a general parser takes longer."""
        head = b""
        while line := self.rfile.readline():
            head += line
            if line == b"\r\n":
                self._answer(head)
                head = b""

    def _answer(self, head: bytes) -> None:
        """Send what a request asks for, or say that it is not there."""
        if self.delay_s:
            time.sleep(self.delay_s)
        path, span = _PATH.match(head), _RANGE.search(head)
        assert path and span  # noqa: S101, PT018  # nothing else is asked here
        try:
            self._send(self.root + unquote(path[1].decode()), int(span[1]), int(span[2]) + 1)
        except (FileNotFoundError, IsADirectoryError):
            self.request.sendall(_MISSING)

    def _send(self, path: str, first: int, after: int) -> None:
        """Send a range of a file."""
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a Path takes longer
            state = os.fstat(file.fileno())
            after = min(after, state.st_size)
            head = (
                "HTTP/1.1 206 Partial Content\r\n"
                f'ETag: "{state.st_mtime_ns:x}"\r\n'
                f"Content-Range: bytes {first}-{after - 1}/{state.st_size}\r\n"
                f"Content-Length: {after - first}\r\n\r\n"
            )
            self.request.sendall(head.encode(), socket.MSG_MORE)
            while first < after:
                sent = os.sendfile(self.request.fileno(), file.fileno(), first, after - first)
                first += sent


class _Server(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that is gone."""


def main(folder: str, delay_s: float) -> None:
    """Serve a folder until the process is ended."""
    _Handler.root, _Handler.delay_s = folder, delay_s
    server = _Server(("127.0.0.1", 0), _Handler)
    server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _UNPACED)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[3]) if sys.argv[2:3] == ["--delay"] else 0.0)
