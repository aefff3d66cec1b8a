"""One request, followed through redirects and with credentials to the server that has the file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import urllib3

from grokpack.storage.http import connections
from grokpack.storage.http.connection_failures import failed_attempt, wants_login
from grokpack.storage.http.responses import (
    FileGone,
    RefusedRequest,
    RetryableFailure,
    UnexpectedResponse,
    plain,
    received,
)
from grokpack.storage.urls import WEB, host_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.storage.http.request_threads import Request

T = TypeVar("T")

_MOST_REDIRECTS = 5
_LOCATION = "%/:?#[]@!$&'()*+,;=~"
"""Characters that an address may hold unquoted, beside letters, digits, - _ and . Servers send
others as well, which are taken for the bytes that they came as."""
_PROXY_WANTS_LOGIN = 407
_NO_ADDRESS = "it redirects to what is no web address"
_NEAR_S = 0.002  # seconds; a nearby server responds faster than this at its best
answered: dict[str, float] = {}
"""Hosts that have responded, and the shortest time in which each did."""
_moved: dict[str, str] = {}
"""Last target of a URL's redirects: a signed address of a CDN, which serves many ranges until it
expires; empty once it has."""


class Site(Protocol):
    """Protocol of a service: credentials, and advice on refusals."""

    def headers(self, url: str) -> Mapping[str, str]:
        """Return credentials for a URL; none if the host is not the site's."""

    def learn(
        self, sent: Mapping[str, str], response: urllib3.BaseHTTPResponse, body: bytes
    ) -> str | None:
        """Learn from a refusal of a request with these headers.

        Returns:
            What was learned, if the next attempt will differ.
        """

    def refused_hint(self, reason: str) -> str:
        """Return the hint for refused access, for the status and what the server calls it."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A file, or a listing, of a site.

    Attributes:
        path: The user's name for it, for messages.
        site: The service to ask.
        url: Makes its URL, which may change with what the site learns.
    """

    path: str
    site: Site
    url: Callable[[], str]


def follow(
    request: Request[Any],
    resource: Resource,
    wanted: Mapping[str, str],
    receive: Callable[[urllib3.BaseHTTPResponse], T],
) -> T:
    """Make one attempt, at the known target or, if that has expired, from the beginning."""
    url = resource.url()
    known = _moved.get(url)
    if known:
        try:
            return _walk(request, resource, (known,), wanted, receive)
        except (RefusedRequest, FileGone):
            _moved[url] = ""
        except RetryableFailure:
            _moved[url] = ""
            raise
    if known is not None:  # the tag is the file's, which the redirecting address lacks
        wanted = {name: text for name, text in wanted.items() if name != "If-Match"}
    return _walk(request, resource, (url,), wanted, receive)


def _walk(
    request: Request[Any],
    resource: Resource,
    route: tuple[str, ...],
    wanted: Mapping[str, str],
    receive: Callable[[urllib3.BaseHTTPResponse], T],
) -> T:
    """Send a request to the end of a route, and follow its redirects."""
    at = route[-1]
    headers = {**wanted, **resource.site.headers(at)}
    result, location = _ask(request, at, headers, receive, resource)
    if location is None:
        if len(route) > 1:
            _moved[route[0]] = at
        return result  # type: ignore[return-value]  # set where there is no location
    if len(route) > _MOST_REDIRECTS:
        raise UnexpectedResponse(f"more than {_MOST_REDIRECTS} redirections")
    return _walk(request, resource, (*route, _target(at, location)), wanted, receive)


def _target(at: str, location: str) -> str:
    """Return the target of a redirect."""
    try:
        url = urljoin(at, quote(location, safe=_LOCATION, encoding="latin-1", errors="replace"))
        parts, before = urlsplit(url), urlsplit(at)
    except ValueError:
        raise UnexpectedResponse(_NO_ADDRESS) from None
    if parts.scheme not in WEB or host_fault(parts.netloc) is not None:
        raise UnexpectedResponse(_NO_ADDRESS)
    if before.scheme == "https" and parts.scheme == "http":
        raise UnexpectedResponse("it redirects from https to http")
    return url


def _ask(
    request: Request[Any],
    url: str,
    headers: Mapping[str, str],
    receive: Callable[[urllib3.BaseHTTPResponse], T],
    resource: Resource,
) -> tuple[T | None, str | None]:
    """Send one request to one address; return the result, or the target of a redirect."""
    request.check()
    began, host = time.monotonic(), urlsplit(url).netloc
    proxy = connections.proxy_for(url)
    through = proxy.url if proxy else None
    try:
        with connections.get(request, url, headers) as response:
            if response.status == _PROXY_WANTS_LOGIN:
                raise wants_login(through, f"407 {plain(response.reason or '')}")
            _note(host, time.monotonic() - began)
            return received(response, receive, partial(resource.site.learn, headers))
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        request.check()
        raise failed_attempt(error, url, through, known=host in answered) from error


def _note(host: str, seconds: float) -> None:
    answered[host] = min(seconds, answered.get(host, seconds))


def is_near(resource: Resource) -> bool:
    """Return whether a host responds so soon that parallel requests gain nothing."""
    return answered.get(urlsplit(resource.url()).netloc, _NEAR_S) < _NEAR_S
