"""Validation of HTTP responses.

Status, range, total size and length must be consistent with each other and with the request;
otherwise nothing of a response is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from grokpack.storage.http.retry_policy import retry_after_s

if TYPE_CHECKING:
    from collections.abc import Callable

    import urllib3

T = TypeVar("T")

_MOST_WHOLE_BYTES = 1 << 20  # of a file that may come whole for a range request
WHOLE, PARTIAL, NO_SUCH_RANGE = 200, 206, 416
_EXPLANATION_BYTES = 2048  # of an error's body, in which S3 names the reason
_MOVED = (301, 302, 303, 307, 308)
BUSY = frozenset({408, 425, 429, *range(500, 600)} - {501, 505, 511})
"""Statuses that say "later": all of a server's own failures but those that it names as lasting."""
REFUSED, _GONE, _CHANGED = (401, 403), (404, 410), 412
FORBIDDEN_BY_LAW = 451
_AS_STORED = ("", "identity", "aws-chunked")
"""Encodings of bytes that come as they are; the last is how a client of S3 once sent them."""
REFUSED_CODES = (
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
)
"""S3's names for refusals that come with status 400."""
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE)
_EMPTY_RANGE = "bytes */0"
_CODE = re.compile(rb"<Code>([A-Za-z.]{1,60})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]+)</Message>")
"""Name and description of an error in S3's XML, which Google has as well."""
_MESSAGE_CHARACTERS = 200
_HUB_CODE = "X-Error-Code"  # header in which the hub names an error


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Size and version of a file, as a server reports them.

    Attributes:
        size: Size in bytes.
        tag: Its ETag, else its modification time; empty if the server reports neither.
    """

    size: int
    tag: str


class RetryableFailure(Exception):  # whether it was a response or none, the next may be better
    """Failed attempt that may succeed next time."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.after_s = reason, after_s


class UnexpectedResponse(RetryableFailure):
    """Attempt with a response other than the requested one, which a retry may not fix."""


class LastingFailure(Exception):
    """Failed attempt that would fail each time."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


class RefusedRequest(Exception):
    """Refused access: status 401, 403 or 451, or S3's 400 with a code that says so."""


class FileGone(Exception):
    """Status 404 or 410."""


class FileChanged(UnexpectedResponse):
    """Response that the file is not the one that was asked for, as far as the server knows."""


def described(response: urllib3.BaseHTTPResponse) -> tuple[int, int, FileFacts]:
    """Return the first byte of a response, one past its last, and the file's size and tag."""
    length = response.headers.get("Content-Length")
    declared = int(length) if length and length.isdecimal() else None
    check_encoding(response)
    if response.status == WHOLE:
        return _described_whole(response, declared)
    match = _RANGE.fullmatch((response.headers.get("Content-Range") or "").strip())
    if match is None:
        raise UnexpectedResponse("it does not say which bytes it sent")
    start, stop, size = int(match[1]), int(match[2]) + 1, int(match[3])
    if not start < stop <= size or declared not in (None, stop - start):
        raise UnexpectedResponse(f"{length} bytes are not `{match[0]}`")
    return start, stop, FileFacts(size, tag(response))


def check_encoding(response: urllib3.BaseHTTPResponse) -> None:
    """Check that a body is sent as it is, not compressed.

    Raises:
        UnexpectedResponse: It is not.
    """
    if (response.headers.get("Content-Encoding") or "").strip().lower() not in _AS_STORED:
        raise UnexpectedResponse("it sent the bytes in an encoding that was not asked for")


def _described_whole(
    response: urllib3.BaseHTTPResponse, declared: int | None
) -> tuple[int, int, FileFacts]:
    """Accept a small file that comes whole; a larger one shows a server without ranges."""
    kind = response.headers.get("Content-Type") or ""
    if kind.lower().startswith("text/html"):
        raise UnexpectedResponse("it sent a web page, with status 200")
    if declared is None or declared > _MOST_WHOLE_BYTES:
        raise UnexpectedResponse("it serves whole files only, and no byte ranges")
    return 0, declared, FileFacts(declared, tag(response))


def tag(response: urllib3.BaseHTTPResponse) -> str:
    """Return a file's version: its ETag, else its date; empty without either."""
    return (response.headers.get("ETag") or response.headers.get("Last-Modified") or "").strip()


def plain(text: str, most: int = 80) -> str:
    """Escape text from a server for a terminal, and shorten it to so many characters."""
    return text[:most].encode("unicode_escape").decode("ascii") or "none"


def received(
    response: urllib3.BaseHTTPResponse,
    receive: Callable[[urllib3.BaseHTTPResponse], T],
    learn: Callable[[urllib3.BaseHTTPResponse, bytes], str | None],
) -> tuple[T | None, str | None]:
    """Handle a response by its status.

    Args:
        response: The response, whose body is not read yet.
        receive: Reads a successful response.
        learn: Learns from another one and its body; says what, if a retry will differ.

    Returns:
        The result of `receive`, or else the target of a redirect.
    """
    status = response.status
    if status in (WHOLE, PARTIAL):
        return receive(response), None
    if status == NO_SUCH_RANGE and _is_empty(response):
        response.read(_EXPLANATION_BYTES)
        return receive(response), None
    body = response.read(_EXPLANATION_BYTES)
    location = response.headers.get("Location")
    if status in _MOVED and location:
        return None, location
    learned = learn(response, body)
    if learned is not None:
        raise RetryableFailure(learned, after_s=0)
    raise _failure(response, body)


def _is_empty(response: urllib3.BaseHTTPResponse) -> bool:
    """Return whether a file has no byte at all; some servers leave out how many it has."""
    return (response.headers.get("Content-Range") or _EMPTY_RANGE).strip() == _EMPTY_RANGE


def _failure(response: urllib3.BaseHTTPResponse, body: bytes) -> Exception:
    """Return the exception for a response without data, which a bucket and the hub give a name."""
    status, code = response.status, _CODE.search(body)
    name = code[1].decode() if code else response.headers.get(_HUB_CODE) or response.reason
    reason = f"{status} {plain(name or '')}"
    if status in BUSY:
        return RetryableFailure(f"it answered {reason}", retry_after_s(response.headers))
    if status in (_CHANGED, NO_SUCH_RANGE):
        return FileChanged(f"the server answers {reason}")
    if status in (*REFUSED, FORBIDDEN_BY_LAW) or reason.partition(" ")[2] in REFUSED_CODES:
        return RefusedRequest(reason)
    if status in _GONE:
        return FileGone(reason)
    message = _MESSAGE.search(body)
    why = f": {plain(message[1].decode(errors='replace'), _MESSAGE_CHARACTERS)}" if message else ""
    return UnexpectedResponse(f"it answered {reason}{why}")
