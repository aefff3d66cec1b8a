"""Connections of urllib3, kept open between requests and aborted from other threads."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, port_by_scheme

from grokpack.core.optional_imports import import_extra
from grokpack.core.version import AGENT
from grokpack.storage.http import settings
from grokpack.storage.http.proxies import SOCKS, Proxy, find_proxy
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.http.trusted_certificates import named_certificates, tls_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.storage.http.request_threads import Request

CONNECT_S = 10.0
SILENCE_S = settings.seconds("GROKPACK_HTTP_SILENCE", 30.0)
"""Seconds without a byte after which a connection counts as dead."""
_IDLE_S = 60.0  # routers forget idle connections without notice
_MOST_IDLE = 64  # to one host; as many requests are in flight at a time

_IDENTITY = {"User-Agent": AGENT, "Accept": "*/*"}
"""Headers that servers in front of mirrors ask of polite clients."""


class _Running(threading.local):
    """The request of each thread, where its connection finds it: urllib3 passes nothing on."""

    request: Request[Any] | None = None


_thread = _Running()


class AbortableConnection(HTTPConnection):
    """Connection that is known to its request, so that another thread can abort it."""

    _began = 0.0
    _socket: socket.socket | None = None

    @property
    def is_connected(self) -> bool:
        """False if the connection must not be reused."""
        return time.monotonic() - self._began < _IDLE_S and super().is_connected

    def connect(self) -> None:
        """Connect, and keep the socket, which is dropped when a response is the last."""
        request = _thread.request
        if request is not None and request.in_place:
            run_request(lambda _: super(AbortableConnection, self).connect())
        else:
            super().connect()
        self._socket = getattr(self.sock, "socket", self.sock)  # TLS in the TLS of a proxy

    def request(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # urllib3's
        """Send a request."""
        self._began = time.monotonic()
        if _thread.request is not None:
            _thread.request.line = self
        try:
            super().request(*args, **options)
        except OSError:
            self._receive_alert()
            raise

    def _receive_alert(self) -> None:
        """Raise the alert with which a server closed a connection before the request was sent.

        A client of TLS 1.3 is done with the handshake before the server has looked at its
        certificate: the refusal is there to be read where sending fails.
        """
        if isinstance(self.sock, ssl.SSLSocket):
            with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLEOFError):
                self.sock.recv(1)

    def abort(self) -> None:
        """Abort a read of another thread, on the bare socket because that thread may be in TLS."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def get(request: Request[Any], url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    """Send a GET request; return its response, whose body is not read yet.

    A response read to its end gives its connection back; closing one before closes the connection.

    Raises:
        HTTPError: urllib3's, for all that happens to a connection.
        GrokpackError: GP224 if the environment's proxy cannot be used.
    """
    _thread.request = request
    return _send(url, "GET", headers, preload_content=False, decode_content=False)


def receive_into(response: urllib3.BaseHTTPResponse, buffer: memoryview) -> int:
    """Read bytes of a response into memory; return how many, 0 at its end.

    urllib3 reads into memory of its own first and copies. Where it knows how much is to come, the
    bytes are taken from the standard library's response below it, and the connection is given back
    with the last of them.
    """
    left = response.length_remaining
    if left is None:
        return response.readinto(buffer)
    got: int = response._fp.readinto(buffer)  # type: ignore[attr-defined]  # noqa: SLF001
    response.length_remaining = left - got
    if got == left:
        response.release_conn()
    return got


def exchange(
    url: str, method: str, body: bytes | None, headers: Mapping[str, str], silence_s: float | None
) -> urllib3.BaseHTTPResponse:
    """Send a request of any method on the calling thread; return its response, read to its end.

    Raises:
        HTTPError: As `get` does, and GrokpackError.
    """
    return _send(url, method, headers, silence_s, body=body)


def _send(
    url: str,
    method: str,
    headers: Mapping[str, str],
    silence_s: float | None = None,
    **options: Any,  # noqa: ANN401  # urllib3's
) -> urllib3.BaseHTTPResponse:
    silence_s = silence_s or SILENCE_S
    proxy = proxy_for(url)
    secure = "https" in (urlsplit(url).scheme, proxy and proxy.scheme)
    return _manager(proxy, secure=secure).urlopen(
        method,
        url,
        headers=_IDENTITY | dict(headers),
        redirect=False,
        retries=False,
        timeout=urllib3.Timeout(connect=min(CONNECT_S, silence_s), read=silence_s),
        **options,
    )


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for requests to a URL; None without one.

    Raises:
        GrokpackError: GP224 if the environment's setting cannot be used.
    """
    parts = urlsplit(url)
    port = parts.port or port_by_scheme[parts.scheme]
    return _proxy(parts.scheme, parts.hostname or "", port)


_proxy = cache(find_proxy)


@cache
def _manager(proxy: Proxy | None, *, secure: bool) -> urllib3.PoolManager:
    """Return the connections through a proxy, or the direct ones.

    Without TLS no certificates are loaded, which takes as long as fifty requests to a near server,
    unless a variable names them: they are checked at the start.
    """
    tls = tls_context() if secure or named_certificates() else None
    options: dict[str, Any] = {"maxsize": _MOST_IDLE, "ssl_context": tls}
    if proxy is None:
        manager = urllib3.PoolManager(**options)
    elif proxy.scheme in SOCKS:
        import_extra("socks", "socks")
        kind = import_module("urllib3.contrib.socks").SOCKSProxyManager
        manager = kind(proxy.url, proxy.user, proxy.password, **options)
    else:
        options |= {"proxy_headers": proxy.headers, "proxy_ssl_context": tls}
        manager = urllib3.ProxyManager(proxy.url, **options)
    manager.pool_classes_by_scheme = {
        scheme: _abortable(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }
    return manager


def _abortable(pool: type[urllib3.HTTPConnectionPool]) -> type[urllib3.HTTPConnectionPool]:
    """Return a class of pools whose connections can be aborted."""
    line = type(AbortableConnection.__name__, (AbortableConnection, pool.ConnectionCls), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": line})


def forget() -> None:
    """Close idle connections, so that the environment is read again."""
    for kept in (_proxy, _manager):
        kept.cache_clear()


os.register_at_fork(after_in_child=forget)  # a connection serves one process
