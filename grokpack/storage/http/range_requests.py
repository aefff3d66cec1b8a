"""Range requests: sent, checked byte for byte, and retried if that may help."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from grokpack.core.errors import (
    AccessRefused,
    GrokpackError,
    Place,
    ServerFailed,
    SourceChanged,
    WrongResponse,
)
from grokpack.storage.http import retry_policy
from grokpack.storage.http.connections import SILENCE_S
from grokpack.storage.http.redirects import answered, follow
from grokpack.storage.http.responses import (
    FORBIDDEN_BY_LAW,
    NO_SUCH_RANGE,
    PARTIAL,
    WHOLE,
    FileChanged,
    FileFacts,
    FileGone,
    LastingFailure,
    RefusedRequest,
    RetryableFailure,
    UnexpectedResponse,
    check_encoding,
    described,
    plain,
    tag,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import urllib3

    from grokpack.storage.http.redirects import Resource
    from grokpack.storage.http.request_threads import Request
    from grokpack.storage.http.response_bodies import Body

T = TypeVar("T")

_SLOWEST_BYTES_PER_S = 64 << 10  # slower, even four at a time, the release takes two weeks


def head(request: Request[Any], resource: Resource, nbytes: int) -> tuple[FileFacts, bytes]:
    """Return size and tag of a file, and its first bytes, in one request.

    Raises:
        FileGone: There is no such file.
        RefusedRequest: Access is refused.
        GrokpackError: GP221 if the server cannot be reached, GP223 if it serves no ranges.
    """

    def receive(response: urllib3.BaseHTTPResponse) -> tuple[FileFacts, bytes]:
        if response.status == NO_SUCH_RANGE:
            return FileFacts(0, tag(response)), b""
        start, stop, facts = described(response)
        if start != 0 or (response.status == PARTIAL and stop != min(nbytes, facts.size)):
            raise UnexpectedResponse(f"it sent bytes {start:,} to {stop:,} instead")
        data = response.read(stop)
        if len(data) != stop:
            raise RetryableFailure("the answer broke off")
        return facts, data

    return _persist(request, resource, {"Range": f"bytes=0-{nbytes - 1}"}, nbytes, receive)


def document(request: Request[Any], resource: Resource, limit_bytes: int) -> tuple[bytes, str]:
    """Return a whole response of bounded size, and its `Link` header.

    Raises:
        FileGone: There is no such page; other errors as in `head`.
    """

    def receive(response: urllib3.BaseHTTPResponse) -> tuple[bytes, str]:
        check_encoding(response)
        data = response.read(limit_bytes + 1)
        response.read(1)  # nothing, which it is only at the end of a whole response
        if response.status != WHOLE or len(data) > limit_bytes:
            raise UnexpectedResponse(f"status {response.status}, more than {limit_bytes:,} bytes")
        return data, response.headers.get("Link") or ""

    return _persist(request, resource, {}, limit_bytes, receive)


def read(
    request: Request[Any], resource: Resource, offset: int, body: Body, seen: FileFacts
) -> None:
    """Read bytes of a file, provided it is still the version that was seen.

    Raises:
        GrokpackError: GP213 if it is another version by now, GP221 if the server does not deliver,
            GP222 if access is refused, GP223 if its responses do not match the request.
    """
    wanted = {"Range": f"bytes={offset}-{offset + body.nbytes - 1}"}
    if seen.tag.startswith('"'):  # a weak tag never matches, and a date is no tag
        wanted["If-Match"] = seen.tag

    def receive(response: urllib3.BaseHTTPResponse) -> None:
        _check_range(response, offset, body.nbytes, seen)
        body.take(request, response)

    try:
        _persist(request, resource, wanted, body.nbytes, receive, final=(FileChanged,))
    except FileChanged as error:
        raise changed(resource.path, str(error)) from None
    except FileGone:
        raise changed(resource.path, "it is gone") from None
    except RefusedRequest as error:
        raise refused(resource, str(error)) from None


def _check_range(
    response: urllib3.BaseHTTPResponse, offset: int, nbytes: int, seen: FileFacts
) -> None:
    """Check that a response has the bytes that were asked for, of the version that was seen.

    Raises:
        FileChanged: The file is another one by now.
        UnexpectedResponse: The bytes are others.
    """
    if response.status == NO_SUCH_RANGE:
        raise FileChanged("it is empty now")
    start, stop, facts = described(response)
    if facts != seen:
        raise FileChanged(difference(seen, facts))
    if (start, stop) != (offset, offset + nbytes):
        raise UnexpectedResponse(f"it sent bytes {start:,} to {stop:,} instead")


def changed(path: str, how: str) -> GrokpackError:
    """Return the error for a file that is not the one that was opened."""
    hint = "restore the source, or begin anew with `--restart`"
    what = "source changed since it was opened"
    return SourceChanged(what, Place(path), (("changed", how),), hint)


def refused(resource: Resource, reason: str) -> GrokpackError:
    """Return the error for a file that may not be read."""
    facts = (("answer", reason),)
    hint = resource.site.refused_hint(reason)
    if reason.startswith(f"{FORBIDDEN_BY_LAW} "):
        hint = "the server must not give it to this place for legal reasons; take another source"
    return AccessRefused("access is refused", Place(resource.path), facts, hint)


def difference(seen: FileFacts, now: FileFacts) -> str:
    """Describe how a file differs from its earlier version."""
    if seen.size != now.size:
        return f"{seen.size:,} bytes then, {now.size:,} now"
    return f"tag {plain(seen.tag)} then, {plain(now.tag)} now"


def _persist(
    request: Request[Any],
    resource: Resource,
    wanted: Mapping[str, str],
    nbytes: int,
    receive: Callable[[urllib3.BaseHTTPResponse], T],
    final: tuple[type[RetryableFailure], ...] = (),
) -> T:
    """Repeat a request until it succeeds, fails for good, or has failed too often.

    Raises:
        RetryableFailure: An attempt failed in a way that is final here.
        GrokpackError: GP221, GP223 or GP243 for what the attempts came to.
    """
    began, failures, unexpected = time.monotonic(), 0, 0
    while True:
        request.deadline = time.monotonic() + SILENCE_S + nbytes / _SLOWEST_BYTES_PER_S
        try:
            return follow(request, resource, wanted, receive)
        except LastingFailure as lasting:
            raise out_of_reach(resource.path, lasting) from None
        except final:
            raise
        except RetryableFailure as failure:
            failures += 1
            unexpected += isinstance(failure, UnexpectedResponse)
            known = urlsplit(resource.url()).netloc in answered
            if retry_policy.gives_up(failures, unexpected=unexpected, host_answered=known):
                raise _failure(resource, failure, failures, time.monotonic() - began) from None
            request.pause(retry_policy.delay_s(failures, failure.after_s))
        finally:
            request.line = None


def out_of_reach(path: str, failure: LastingFailure) -> GrokpackError:
    """Return the error for a server that asking again would not reach either."""
    what, facts = "the server cannot be reached like this", (("happened", failure.reason),)
    return GrokpackError("GP243", what, Place(path), facts, failure.hint)


def _failure(
    resource: Resource, failure: RetryableFailure, failures: int, seconds: float
) -> GrokpackError:
    facts = (
        ("happened", failure.reason),
        ("tried", f"{failures} times in {seconds:.0f} s"),
    )
    place = Place(resource.path)
    if isinstance(failure, UnexpectedResponse):
        hint = "nothing that it sent was used; take another server, or fetch the files first"
        return WrongResponse("the server does not answer as asked", place, facts, hint)
    hint = "see that the server can be reached, and run the same command again; it continues"
    return ServerFailed("the server does not deliver", place, facts, hint)
