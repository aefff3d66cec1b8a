"""Connections of urllib3, kept open between requests and aborted from other threads."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
import urllib.request
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from grokpack.core.errors import GrokpackError, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.storage.http.request_threads import Request

CONNECT_S = 10.0
SILENCE_S = float(os.environ.get("GROKPACK_HTTP_SILENCE") or 30)
"""Seconds without a byte after which a connection counts as dead."""
_IDLE_S = 60.0  # routers forget idle connections without notice
_MOST_IDLE = 64  # to one host; as many requests are in flight at a time

_thread = threading.local()
"""The request that runs on a thread, which a connection cannot be told otherwise."""


class Line(HTTPConnection):
    """Connection that its request knows, so that another thread can abort it."""

    _began = 0.0
    _socket: socket.socket | None = None

    @property
    def is_connected(self) -> bool:
        """False if the connection must not be reused."""
        return time.monotonic() - self._began < _IDLE_S and super().is_connected

    def connect(self) -> None:
        """Connect, and keep the socket, which is dropped when a response is the last."""
        super().connect()
        self._socket = getattr(self.sock, "socket", self.sock)  # TLS in the TLS of a proxy

    def request(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # urllib3's
        """Send a request."""
        self._began = time.monotonic()
        _thread.request.line = self
        super().request(*args, **options)

    def abort(self) -> None:
        """Abort a read of another thread, on the bare socket because that thread may be in TLS."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _SecureLine(Line, HTTPSConnection):
    """`Line` over TLS."""


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = Line


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureLine


def get(request: Request[Any], url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    """Send a GET request; return its response, whose body is not read yet.

    A response read to its end gives its connection back; closing one before closes the connection.

    Raises:
        HTTPError: urllib3's, for all that happens to a connection.
        GrokpackError: GP224 if the environment's proxy cannot be used.
    """
    _thread.request = request
    parts = urlsplit(url)
    return _manager(_proxy(parts.scheme, parts.hostname or "")).urlopen(
        "GET",
        url,
        headers=headers,
        redirect=False,
        retries=False,
        timeout=urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S),
        preload_content=False,
        decode_content=False,
    )


@cache
def _proxy(scheme: str, host: str) -> str | None:
    """Return the URL of the environment's proxy for a host."""
    return None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)


@cache
def _manager(proxy: str | None) -> urllib3.PoolManager:
    """Return the pools of the connections through a proxy, or of direct ones.

    Raises:
        GrokpackError: GP224 if the environment's setting is not a URL.
    """
    options: dict[str, Any] = {"maxsize": _MOST_IDLE, "ssl_context": _tls()}
    try:
        manager = (
            urllib3.PoolManager(**options)
            if proxy is None
            else urllib3.ProxyManager(proxy, proxy_ssl_context=_tls(), **options)
        )
    except urllib3.exceptions.HTTPError as error:
        what = f"the proxy of the environment cannot be used: {error}"
        raise GrokpackError("GP224", what, Place(proxy or "")) from error
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return manager


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def forget() -> None:
    """Close idle connections, so that the environment is read again."""
    for kept in (_proxy, _manager, _tls):
        kept.cache_clear()


os.register_at_fork(after_in_child=forget)  # a connection serves one process
