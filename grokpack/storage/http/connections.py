"""HTTP/1.1 connections of the standard library, kept open between requests."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
import urllib.request
from functools import cache
from urllib.parse import urlsplit

from grokpack.core.errors import GrokpackError, Place

CONNECT_S = 10.0
SILENCE_S = float(os.environ.get("GROKPACK_HTTP_SILENCE") or 30)
"""Seconds without a byte after which a connection counts as dead."""
_IDLE_S = 15.0  # servers close idle connections after 5 to 75 seconds, without notice
_MOST_IDLE = 64

Address = tuple[str, str]  # scheme, host and port


class Connection:
    """HTTP connection.

    Attributes:
        fresh: True until its first request.
        by_proxy: True if requests go to a proxy, with whole URLs.
        encrypted: True if its bytes are in TLS.
    """

    def __init__(self, address: Address) -> None:
        self.address, self.fresh, self.since = address, True, time.monotonic()
        self.http, self.by_proxy = _connect(*address)
        self.encrypted = address[0] == "https"
        self._sock: socket.socket | None = None

    def open(self) -> None:
        """Connect, unless connected; from then on the timeout is that of silence."""
        connected = self.http.sock is not None
        if not connected:
            self.http.connect()
            self.http.sock.settimeout(SILENCE_S)
            self._sock = self.http.sock  # `http` drops the socket when the response is the last

    def abort(self) -> None:
        """Abort a read of another thread, on the bare socket because that thread may be in TLS."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self.http.close()


def _connect(scheme: str, host: str) -> tuple[http.client.HTTPConnection, bool]:
    """Create a connection, through the environment's proxy if any; it connects on first use.

    Returns:
        The connection, and whether it goes to a proxy that takes whole URLs.
    """
    name, port = _host_and_port(scheme, host)
    proxy = None if urllib.request.proxy_bypass(name) else urllib.request.getproxies().get(scheme)
    target, target_port = _proxy(proxy) if proxy else (name, port)
    connection: http.client.HTTPConnection
    if scheme == "https":
        connection = http.client.HTTPSConnection(
            target, target_port, timeout=CONNECT_S, context=_tls()
        )
        if proxy:
            connection.set_tunnel(name, port)
    else:
        connection = http.client.HTTPConnection(target, target_port, timeout=CONNECT_S)
    return connection, scheme == "http" and proxy is not None


def _proxy(url: str) -> tuple[str, int]:
    """Return host and port of a proxy.

    Raises:
        GrokpackError: GP224 if the environment's setting is not a URL.
    """
    try:
        return _host_and_port("http", urlsplit(url).netloc)
    except ValueError as error:
        what = f"the proxy of the environment cannot be used: {error}"
        raise GrokpackError("GP224", what, Place(url)) from error


def _host_and_port(scheme: str, host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    try:
        port = parts.port or (443 if scheme == "https" else 80)
    except ValueError as error:
        raise GrokpackError("GP224", f"this URL cannot be used: {error}", Place(host)) from error
    return parts.hostname or host, port


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class Pool:
    """Pool of open, idle connections, newest first."""

    def __init__(self) -> None:
        self._idle: list[Connection] = []
        self._guard = threading.Lock()

    def take(self, address: Address) -> Connection:
        """Return an idle connection to an address, or a new one."""
        with self._guard:
            self._drop_old()
            for index in reversed(range(len(self._idle))):
                if self._idle[index].address == address:
                    return self._idle.pop(index)
        return Connection(address)

    def give(self, connection: Connection) -> None:
        """Take back a connection whose last response was read to its end."""
        connection.fresh, connection.since = False, time.monotonic()
        with self._guard:
            self._idle.append(connection)
            while len(self._idle) > _MOST_IDLE:
                self._idle.pop(0).close()

    def close(self) -> None:
        """Close all idle connections."""
        with self._guard:
            while self._idle:
                self._idle.pop().close()

    def _drop_old(self) -> None:
        edge = time.monotonic() - _IDLE_S
        while self._idle and self._idle[0].since < edge:
            self._idle.pop(0).close()


pool = Pool()
atexit.register(pool.close)
