"""One range of one file: asked for, checked against what was asked and seen, tried again.

A server is not believed: status, range, total size, tag and length of each answer must fit, or the
bytes are not used.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

from grokpack.errors import GrokpackError, Place
from grokpack.storage.remote.wire import SILENCE_S, pool, uses_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.storage.remote.flights import Flight

T = TypeVar("T")

TRIES = 1 + int(os.environ.get("GROKPACK_HTTP_RETRIES") or 7)  # half a minute in all
_TRIES_OF_A_STRANGER = 4  # a host that never answered: a name mistyped, a server not started
_TRIES_OF_A_LIAR = 3  # a proxy's error page may pass; a server without ranges stays as it is
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 20.0
_LONGEST_RETRY_AFTER_S = 300.0
_SLOWEST_BYTES_PER_S = 64 << 10  # slower, and with four at a time, the release takes two weeks
_SLICE_BYTES = 1 << 20
_MOST_REDIRECTS = 5
_EXPLANATION_BYTES = 2048  # of an error's body: S3 names the reason there
_MOVED = (301, 302, 303, 307, 308)
_BUSY = (408, 425, 429, 500, 502, 503, 504, 509)
_REFUSED, _GONE, _CHANGED, _NO_SUCH_RANGE = (401, 403), (404, 410), 412, 416
_WHOLE, _PARTIAL = 200, 206
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_EMPTY = re.compile(r"bytes \*/0")
_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of a file.

    Attributes:
        size: In bytes.
        tag: Its ETag, else when it was last modified; empty where the server tells neither.
    """

    size: int
    tag: str


class Site(Protocol):
    """How a service is spoken to."""

    def headers(self, url: str) -> Mapping[str, str]:
        """Credentials for a URL: none where its host is not the site's."""

    def learn(self, headers: Mapping[str, str]) -> bool:
        """Take advice from a refusal; true where the next attempt will differ."""

    def refused_hint(self) -> str:
        """What to do where access is refused."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A file, or a listing, of a site.

    Attributes:
        path: What the user calls it, for messages.
        site: How it is asked for.
        url: Makes its URL; what the site learns may change it.
    """

    path: str
    site: Site
    url: Callable[[], str]


class _Trouble(Exception):  # noqa: N818  # an answer, or none, that may be better next time
    """One attempt that failed."""

    def __init__(self, reason: str, code: str = "GP221", after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.code, self.after_s = reason, code, after_s


class Refused(Exception):  # noqa: N818
    """401 or 403."""


class Gone(Exception):  # noqa: N818
    """404 or 410."""


class _Changed(Exception):  # noqa: N818
    """The file is not the one that was opened."""


def head(flight: Flight[Any], resource: Resource, nbytes: int) -> tuple[Facts, bytes]:
    """Size and tag of a file, and its first bytes, in one request.

    Raises:
        Gone: Where there is none.
        Refused: Where access is refused.
        GrokpackError: GP221 where the server cannot be reached, GP223 where it serves no ranges.
    """

    def receive(response: http.client.HTTPResponse) -> tuple[Facts, bytes]:
        if response.status == _NO_SUCH_RANGE:
            return Facts(0, _tag(response)), b""
        start, stop, facts = _described(response)
        if start != 0 or (response.status == _PARTIAL and stop != min(nbytes, facts.size)):
            raise _Trouble(f"it sent bytes {start:,} to {stop:,} instead", "GP223")
        data = response.read(stop)
        if len(data) != stop:
            raise _Trouble("the answer broke off")
        return facts, data

    return _persist(flight, resource, {"Range": f"bytes=0-{nbytes - 1}"}, nbytes, receive)


def document(flight: Flight[Any], resource: Resource, limit_bytes: int) -> tuple[bytes, str]:
    """A whole answer of bounded size, and its `Link` header.

    Raises:
        Gone: See `head`; likewise for the others.
    """

    def receive(response: http.client.HTTPResponse) -> tuple[bytes, str]:
        data = response.read(limit_bytes + 1)
        if response.status != _WHOLE or len(data) > limit_bytes:
            raise _Trouble(f"status {response.status}, more than {limit_bytes:,} bytes", "GP223")
        return data, response.getheader("Link") or ""

    return _persist(flight, resource, {}, limit_bytes, receive)


def fill(
    flight: Flight[Any], resource: Resource, offset: int, buffer: memoryview, seen: Facts
) -> None:
    """Fill a buffer from a file that is still the one that was seen.

    Raises:
        GrokpackError: GP213 where it is another file by now, GP221 where the server does not
            deliver, GP222 where access is refused, GP223 where its answers do not fit.
    """
    wanted = {"Range": f"bytes={offset}-{offset + len(buffer) - 1}"}
    if seen.tag.startswith('"'):  # a weak tag never matches, a date is none
        wanted["If-Match"] = seen.tag

    def receive(response: http.client.HTTPResponse) -> None:
        start, stop, facts = _described(response)
        if facts != seen:
            raise _Changed(difference(seen, facts))
        if (start, stop) != (offset, offset + len(buffer)):
            raise _Trouble(f"it sent bytes {start:,} to {stop:,} instead", "GP223")
        _read(flight, response, buffer)

    try:
        _persist(flight, resource, wanted, len(buffer), receive)
    except Gone:
        raise changed(resource.path, "it is gone") from None
    except Refused as error:
        raise refused(resource, str(error)) from None


def changed(path: str, how: str) -> GrokpackError:
    """The error for a file that is not the one that was opened."""
    hint = "restore the source, or begin anew with `--restart`"
    what = "source changed since it was opened"
    return GrokpackError("GP213", what, Place(path), (("changed", how),), hint)


def refused(resource: Resource, reason: str) -> GrokpackError:
    """The error for a file that may not be read."""
    facts = (("answer", reason),)
    hint = resource.site.refused_hint()
    return GrokpackError("GP222", "access is refused", Place(resource.path), facts, hint)


def difference(seen: Facts, now: Facts) -> str:
    """How a file differs from what it was, in words."""
    if seen.size != now.size:
        return f"{seen.size:,} bytes then, {now.size:,} now"
    return f"tag {_plain(seen.tag)} then, {_plain(now.tag)} now"


def _plain(text: str) -> str:
    """Text from a server, fit for a terminal."""
    return text[:80].encode("unicode_escape").decode("ascii") or "none"


def _described(response: http.client.HTTPResponse) -> tuple[int, int, Facts]:
    """What an answer says that it holds: first byte, one past the last, and the file's facts."""
    length = response.getheader("Content-Length")
    declared = int(length) if length and length.isdecimal() else None
    if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
        raise _Trouble("it sent the bytes in an encoding that was not asked for", "GP223")
    if response.status == _WHOLE:
        return _described_whole(response, declared)
    match = _RANGE.fullmatch((response.getheader("Content-Range") or "").strip())
    if match is None:
        raise _Trouble("it does not say which bytes it sent", "GP223")
    start, stop, size = int(match[1]), int(match[2]) + 1, int(match[3])
    if not start < stop <= size or declared not in (None, stop - start):
        raise _Trouble(f"{length} bytes are not `{match[0]}`", "GP223")
    return start, stop, Facts(size, _tag(response))


def _described_whole(
    response: http.client.HTTPResponse, declared: int | None
) -> tuple[int, int, Facts]:
    """A small file may come whole; what is larger than a slice shows a server without ranges."""
    kind = response.getheader("Content-Type") or ""
    if kind.lower().startswith("text/html"):
        raise _Trouble("it sent a web page, with status 200", "GP223")
    if declared is None or declared > _SLICE_BYTES:
        raise _Trouble("it serves whole files only, and no byte ranges", "GP223")
    return 0, declared, Facts(declared, _tag(response))


def _tag(response: http.client.HTTPResponse) -> str:
    return (response.getheader("ETag") or response.getheader("Last-Modified") or "").strip()


def _read(flight: Flight[Any], response: http.client.HTTPResponse, buffer: memoryview) -> None:
    """Fill the buffer from the body, which must end with it."""
    filled = 0
    while filled < len(buffer):
        flight.check()
        got = response.readinto(buffer[filled : filled + _SLICE_BYTES])
        if not got:
            raise _Trouble(f"the answer broke off after {filled:,} of {len(buffer):,} bytes")
        filled += got
    if not response.isclosed() and response.read(1):
        raise _Trouble("the answer is longer than what was asked for", "GP223")


def _persist(
    flight: Flight[Any],
    resource: Resource,
    wanted: Mapping[str, str],
    nbytes: int,
    receive: Callable[[http.client.HTTPResponse], T],
) -> T:
    """Attempt a request until it succeeds, fails for good, or has failed too often."""
    began, tried, lies = time.monotonic(), 0, 0
    while True:
        flight.deadline = time.monotonic() + SILENCE_S + nbytes / _SLOWEST_BYTES_PER_S
        try:
            return _follow(flight, resource, wanted, receive)
        except _Changed as error:
            raise changed(resource.path, str(error)) from None
        except _Trouble as trouble:
            tried, lies = tried + 1, lies + (trouble.code == "GP223")
            known = urlsplit(resource.url()).netloc in _answered
            most = TRIES if known else min(TRIES, _TRIES_OF_A_STRANGER)
            if tried >= most or lies >= min(TRIES, _TRIES_OF_A_LIAR):
                raise _failure(resource, trouble, tried, time.monotonic() - began) from None
            flight.pause(_pause(tried, trouble.after_s))
        finally:
            flight.line = None


def _pause(tried: int, after_s: float | None) -> float:
    """Seconds until the next attempt: twice as long each time, never in step with other clients."""
    if after_s is not None:
        return min(after_s, _LONGEST_RETRY_AFTER_S)
    longest: float = min(_FIRST_PAUSE_S * 2 ** (tried - 1), _LONGEST_PAUSE_S)
    return longest * random.uniform(0.75, 1.25)  # noqa: S311  # no secret


def _failure(resource: Resource, trouble: _Trouble, tried: int, seconds: float) -> GrokpackError:
    facts = (
        ("happened", trouble.reason),
        ("tried", f"{tried} times in {seconds:.0f} s"),
    )
    place = Place(resource.path)
    if trouble.code == "GP223":
        hint = "nothing that it sent was used; take another server, or fetch the files first"
        return GrokpackError("GP223", "the server does not answer as asked", place, facts, hint)
    hint = "see that the server can be reached, and run the same command again; it continues"
    return GrokpackError("GP221", "the server does not deliver", place, facts, hint)


_answered: set[str] = set()  # hosts that are known to be there
_moved: dict[str, str] = {}
"""Where a URL led to last: signed addresses of a CDN, which serve many ranges until they expire;
empty once one has."""


def _follow(
    flight: Flight[Any],
    resource: Resource,
    wanted: Mapping[str, str],
    receive: Callable[[http.client.HTTPResponse], T],
) -> T:
    """One attempt, by the way that is known or, where that has expired, from the beginning."""
    url = resource.url()
    known = _moved.get(url)
    if known:
        try:
            return _walk(flight, resource, (known,), wanted, receive)
        except (Refused, Gone):
            _moved[url] = ""
        except _Trouble:
            _moved[url] = ""
            raise
    if known is not None:  # the tag is that of the file, which the place that leads to it lacks
        wanted = {name: text for name, text in wanted.items() if name != "If-Match"}
    return _walk(flight, resource, (url,), wanted, receive)


def _walk(
    flight: Flight[Any],
    resource: Resource,
    route: tuple[str, ...],
    wanted: Mapping[str, str],
    receive: Callable[[http.client.HTTPResponse], T],
) -> T:
    """Ask at the end of a route, and where that leads."""
    at = route[-1]
    headers = {**wanted, **resource.site.headers(at)}
    answer, location = _ask(flight, at, headers, receive, resource)
    if location is None:
        if len(route) > 1:
            _moved[route[0]] = at
        return answer  # type: ignore[return-value]  # set where there is no location
    if len(route) > _MOST_REDIRECTS:
        raise _Trouble(f"more than {_MOST_REDIRECTS} redirections", "GP223")
    return _walk(flight, resource, (*route, _target(at, location)), wanted, receive)


def _target(at: str, location: str) -> str:
    """Where a redirection leads."""
    url = urljoin(at, location)
    parts, before = urlsplit(url), urlsplit(at)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
        raise _Trouble("it redirects to what is no web address", "GP223")
    if before.scheme == "https" and parts.scheme == "http":
        raise _Trouble("it redirects from https to http", "GP223")
    return url


def _ask(
    flight: Flight[Any],
    url: str,
    headers: Mapping[str, str],
    receive: Callable[[http.client.HTTPResponse], T],
    resource: Resource,
) -> tuple[T | None, str | None]:
    """One request to one address: what was received, or where it redirects to."""
    parts = urlsplit(url)
    address = parts.scheme, parts.netloc
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    while True:
        connection = pool.take(address)
        flight.line = connection
        flight.check()
        sound = False
        try:
            connection.open()
            connection.http.request("GET", url if uses_proxy(address) else target, headers=headers)
            response = connection.http.getresponse()
            _answered.add(parts.netloc)
            result = _received(response, receive, resource)
            sound = response.isclosed() and not response.will_close
        except (OSError, http.client.HTTPException, ValueError) as error:
            flight.check()
            if not connection.fresh and _is_hung_up(error):
                continue  # the server closed it while it was idle
            raise _Trouble(_spoken(error)) from error
        else:
            return result
        finally:
            if sound:
                pool.give(connection)
            else:
                connection.close()


def _is_hung_up(error: Exception) -> bool:
    return isinstance(error, ConnectionError | http.client.BadStatusLine)


def _spoken(error: Exception) -> str:
    """What happened to a connection, in words."""
    if isinstance(error, TimeoutError):
        return f"nothing came for {SILENCE_S:.0f} s"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer broke off"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is no HTTP: {_plain(str(error) or type(error).__name__)}"
    reason = error.strerror if isinstance(error, OSError) else None
    return _plain(reason or str(error) or type(error).__name__)


def _received(
    response: http.client.HTTPResponse,
    receive: Callable[[http.client.HTTPResponse], T],
    resource: Resource,
) -> tuple[T | None, str | None]:
    """Judge an answer by its status."""
    status = response.status
    if status in (_WHOLE, _PARTIAL):
        return receive(response), None
    if status == _NO_SUCH_RANGE and _EMPTY.fullmatch(response.getheader("Content-Range") or ""):
        response.read(_EXPLANATION_BYTES)
        return receive(response), None
    body = response.read(_EXPLANATION_BYTES)
    location = response.getheader("Location")
    if status in _MOVED and location:
        return None, location
    if resource.site.learn(dict(response.headers)):
        raise _Trouble("the bucket is in another region", after_s=0)
    code = _CODE.search(body)
    reason = f"{status} {code[1].decode() if code else _plain(response.reason)}"
    if status in _BUSY:
        raise _Trouble(f"it answered {reason}", after_s=_retry_after(response))
    if status in (_CHANGED, _NO_SUCH_RANGE):
        raise _Changed(f"the server answers {reason}")
    if status in _REFUSED:
        raise Refused(reason)
    if status in _GONE:
        raise Gone(reason)
    raise _Trouble(f"it answered {reason}", "GP223")


def _retry_after(response: http.client.HTTPResponse) -> float | None:
    """Seconds that the server asks for; dates, which clocks disagree about, are passed over."""
    text = (response.getheader("Retry-After") or "").strip()
    return float(text) if text.isdecimal() and len(text) < 7 else None  # noqa: PLR2004  # digits
