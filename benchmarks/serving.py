"""A server of byte ranges on loopback that costs little: `python -m benchmarks.serving DIR`.

It prints its URL; the kernel sends the files. `--delay 0.05` makes it as far as another country.
"""

from __future__ import annotations

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    root = Path()
    delay_s = 0.0

    def do_GET(self) -> None:
        """Send a range of a file, or say that there is none."""
        time.sleep(self.delay_s)
        path = self.root / unquote(self.path).lstrip("/")
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        state = path.stat()
        start, stop = self.headers["Range"].removeprefix("bytes=").split("-")
        first, after = int(start), min(int(stop) + 1, state.st_size)
        self.send_response(206)
        self.send_header("ETag", f'"{state.st_mtime_ns:x}"')
        self.send_header("Content-Range", f"bytes {first}-{after - 1}/{state.st_size}")
        self.send_header("Content-Length", str(after - first))
        self.end_headers()
        with path.open("rb") as file:
            while first < after:
                sent = os.sendfile(self.connection.fileno(), file.fileno(), first, after - first)
                first += sent

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(folder: str, delay_s: float) -> None:
    """Serve a folder until the process is ended."""
    _Handler.root, _Handler.delay_s = Path(folder), delay_s
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[3]) if sys.argv[2:3] == ["--delay"] else 0.0)
