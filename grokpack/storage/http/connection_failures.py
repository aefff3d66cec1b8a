"""Failures of connections: what happened in a few words, and whether asking again may help."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from urllib3 import exceptions

from grokpack.storage.http import connections
from grokpack.storage.http.responses import (
    LastingFailure,
    RetryableFailure,
    UnexpectedResponse,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Causes = Sequence[BaseException]

E = TypeVar("E", bound=BaseException)

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\s*(.*)", re.DOTALL)
_BUSY = 500  # from this status on a proxy may do what it refused a moment ago
_LOGIN = "put a user and a password, percent-encoded and with an @ after them, before its host"
_NO_AGREEMENT = (
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
)
"""OpenSSL's names for demands that this client does not meet."""
_REASON_CHARACTERS = 200


def failed_attempt(error: Exception, url: str, proxy: str | None, *, known: bool) -> Exception:
    """Return the failure of an attempt.

    Args:
        error: An error of urllib3, or of the libraries below it.
        url: The requested URL.
        proxy: The URL of the proxy in between, without user and password.
        known: True if its host has responded before, so that its name does resolve.

    Returns:
        `LastingFailure` where asking again changes nothing, `UnexpectedResponse` for a response
        that is not HTTP, else `RetryableFailure`.
    """
    causes = [*_causes(error)]
    lasting = _refused_by_proxy(causes, proxy) or _untrusted(causes, url, proxy)
    if lasting is None and not known:
        lasting = _unresolved(causes, url, proxy)
    return lasting or _passing(causes, error, proxy)


def wants_login(proxy: str | None, reason: str) -> LastingFailure:
    """Return the failure of a proxy that does not accept the credentials."""
    named = f"the proxy {proxy}" if proxy else "a proxy on the way"
    return LastingFailure(f"{named} answered {reason}", _LOGIN)


def broken_off(done: int, wanted: int) -> RetryableFailure:
    """Return the failure of a response that ended too early."""
    return RetryableFailure(f"the answer broke off after {done:,} of {wanted:,} bytes")


def _refused_by_proxy(causes: Causes, proxy: str | None) -> LastingFailure | None:
    """Return the failure of a proxy that refuses to open a tunnel."""
    if proxy is None:
        return None
    socks = next((str(cause) for cause in causes if "authentication failed" in str(cause)), None)
    if socks is not None:
        return wants_login(proxy, "that the authentication failed")
    tunnel = next(filter(None, (_TUNNEL.search(str(cause)) for cause in causes)), None)
    if tunnel is None or int(tunnel[1]) >= _BUSY:
        return None
    reason = f"{tunnel[1]} {_reason(tunnel[2])}"
    if tunnel[1] == "407":
        return wants_login(proxy, reason)
    hint = "name another proxy, or the host in `no_proxy`"
    return LastingFailure(f"the proxy {proxy} answered {reason}", hint)


def _untrusted(causes: Causes, url: str, proxy: str | None) -> LastingFailure | None:
    """Return the failure of a server whose certificate is not trusted."""
    untrusted = _first(causes, ssl.SSLCertVerificationError)
    if untrusted is not None:
        reason = untrusted.verify_message or str(untrusted)
        hint = "see that the address and this machine's clock are right; where you trust who signed"
        hint += " the certificate, name the signer's: SSL_CERT_FILE=FILE.pem"
        who = _who(causes, url, proxy)
        return LastingFailure(f"the certificate of {who}: {_reason(reason)}", hint)
    wrong = _first(causes, ssl.SSLError)
    if wrong is not None and wrong.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        hint = "write http:// if the server is to be asked without encryption"
        return LastingFailure(f"{_who(causes, url, proxy)} speaks no TLS", hint)
    if wrong is not None and wrong.reason in _NO_AGREEMENT:
        hint = "ask those who run it what it expects; grokpack shows no certificate of its own"
        words = wrong.reason.replace("_", " ").lower()
        return LastingFailure(f"{_who(causes, url, proxy)} agrees to no TLS: {words}", hint)
    return None


def _unresolved(causes: Causes, url: str, proxy: str | None) -> LastingFailure | None:
    """Return the failure of a host name that does not resolve."""
    unresolved = _first(causes, socket.gaierror)
    if unresolved is None:
        return None
    who = _who(causes, url, proxy)
    hint = "see that the name is written right, and that this machine reaches a name server"
    return LastingFailure(f"{who} does not resolve: {_reason(unresolved.strerror or '')}", hint)


def _who(causes: Causes, url: str, proxy: str | None) -> str:
    """Return the name of the server that an error is about."""
    if proxy is not None and _first(causes, exceptions.ProxyError):
        return f"the proxy {proxy}"
    return urlsplit(url).netloc


def _passing(causes: Causes, error: Exception, proxy: str | None) -> RetryableFailure:
    """Return the failure of a connection that may succeed on a retry."""
    if _first(causes, exceptions.ConnectTimeoutError):
        through = f" through the proxy {proxy}" if proxy else ""
        return RetryableFailure(f"no connection{through}{_refused(causes)}")
    if _first(causes, exceptions.ReadTimeoutError) or _first(causes, TimeoutError):
        return RetryableFailure(f"nothing came for {connections.SILENCE_S:.0f} s")
    return _cut(causes) or RetryableFailure(_reason(str(error) or type(error).__name__))


def _refused(causes: Causes) -> str:
    """Say why there is no connection: the system's reason, or that the time was over."""
    system = next((one for one in causes if isinstance(one, OSError) and one.strerror), None)
    if system is None or isinstance(system, TimeoutError):
        return f" within {connections.CONNECT_S:.0f} s"
    return f": {_reason(str(system.strerror))}"


def _cut(causes: Causes) -> RetryableFailure | None:
    """Return the failure of a connection that ended, or that carried something else."""
    cut = _first(causes, exceptions.IncompleteRead)
    if cut is not None:
        return broken_off(cut.partial, cut.partial + cut.expected)
    if _first(causes, http.client.IncompleteRead):  # in the midst of a chunk
        return RetryableFailure("the answer broke off")
    system = _first(causes, OSError)  # `RemoteDisconnected` is one, too
    if system is not None:
        return RetryableFailure(_reason(system.strerror or str(system)))
    not_http = _first(causes, http.client.HTTPException) or _first(causes, exceptions.InvalidHeader)
    if not_http is not None:
        words = _reason(str(not_http) or type(not_http).__name__)
        return UnexpectedResponse(f"the answer is no HTTP: {words}")
    return None


def _reason(text: str) -> str:
    """Escape and shorten the text of an error."""
    return plain(text, _REASON_CHARACTERS)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that an error of urllib3 wraps, innermost first, and then itself."""
    inner = next((part for part in error.args[::-1] if isinstance(part, Exception)), None)
    cause = inner or error.__cause__ or _socks_cause(error)
    if cause is not None:
        yield from _causes(cause)
    yield error


def _socks_cause(error: BaseException) -> BaseException | None:
    """Return what PySocks met; urllib3 raises anew without naming it as the cause."""
    if isinstance(error, exceptions.NewConnectionError):
        return error.__context__
    cause = getattr(error, "socket_err", None)
    return cause if isinstance(cause, BaseException) else None


def _first(causes: Causes, kind: type[E]) -> E | None:
    return next((cause for cause in causes if isinstance(cause, kind)), None)
