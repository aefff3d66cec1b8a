"""What an answer says, and whether that can be believed.

Status, range, total size and length must fit each other and what was asked, or nothing of an
answer is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Mapping

T = TypeVar("T")

SLICE_BYTES = 1 << 20
"""Read at a time; also the largest file that may come whole where a range was asked for."""
WHOLE, PARTIAL, NO_SUCH_RANGE = 200, 206, 416
_EXPLANATION_BYTES = 2048  # of an error's body: S3 names the reason there
_MOVED = (301, 302, 303, 307, 308)
BUSY = (408, 425, 429, 500, 502, 503, 504, 509)
_REFUSED, _GONE, _CHANGED = (401, 403), (404, 410), 412
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


class Trouble(Exception):  # an answer, or none, that may be better next time
    """One attempt that failed."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.after_s = reason, after_s


class NotAsAsked(Trouble):
    """An attempt that was answered, but not as asked; the next one may not be better."""


class Refused(Exception):
    """401 or 403."""


class Gone(Exception):
    """404 or 410."""


class Changed(Exception):
    """The file is not the one that was opened."""


def described(response: http.client.HTTPResponse) -> tuple[int, int, Facts]:
    """What an answer says that it holds: first byte, one past the last, and the file's facts."""
    length = response.getheader("Content-Length")
    declared = int(length) if length and length.isdecimal() else None
    if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
        raise NotAsAsked("it sent the bytes in an encoding that was not asked for")
    if response.status == WHOLE:
        return _described_whole(response, declared)
    match = _RANGE.fullmatch((response.getheader("Content-Range") or "").strip())
    if match is None:
        raise NotAsAsked("it does not say which bytes it sent")
    start, stop, size = int(match[1]), int(match[2]) + 1, int(match[3])
    if not start < stop <= size or declared not in (None, stop - start):
        raise NotAsAsked(f"{length} bytes are not `{match[0]}`")
    return start, stop, Facts(size, tag(response))


def _described_whole(
    response: http.client.HTTPResponse, declared: int | None
) -> tuple[int, int, Facts]:
    """A small file may come whole; what is larger than a slice shows a server without ranges."""
    kind = response.getheader("Content-Type") or ""
    if kind.lower().startswith("text/html"):
        raise NotAsAsked("it sent a web page, with status 200")
    if declared is None or declared > SLICE_BYTES:
        raise NotAsAsked("it serves whole files only, and no byte ranges")
    return 0, declared, Facts(declared, tag(response))


def tag(response: http.client.HTTPResponse) -> str:
    """What names this version of a file: its ETag, else its date; empty without."""
    return (response.getheader("ETag") or response.getheader("Last-Modified") or "").strip()


def plain(text: str) -> str:
    """Text from a server, fit for a terminal."""
    return text[:80].encode("unicode_escape").decode("ascii") or "none"


def received(
    response: http.client.HTTPResponse,
    receive: Callable[[http.client.HTTPResponse], T],
    learn: Callable[[Mapping[str, str]], bool],
) -> tuple[T | None, str | None]:
    """Judge an answer by its status.

    Args:
        response: The answer; its body is not read yet.
        receive: Takes one that holds what was asked for.
        learn: Takes advice from the headers of one that does not; true where it was of use.

    Returns:
        What was received, or else where the answer redirects to.
    """
    status = response.status
    if status in (WHOLE, PARTIAL):
        return receive(response), None
    if status == NO_SUCH_RANGE and _EMPTY.fullmatch(response.getheader("Content-Range") or ""):
        response.read(_EXPLANATION_BYTES)
        return receive(response), None
    body = response.read(_EXPLANATION_BYTES)
    location = response.getheader("Location")
    if status in _MOVED and location:
        return None, location
    if learn(dict(response.headers)):
        raise Trouble("the bucket is in another region", after_s=0)
    code = _CODE.search(body)
    reason = f"{status} {code[1].decode() if code else plain(response.reason)}"
    raise _failure(response, reason)


def _failure(response: http.client.HTTPResponse, reason: str) -> Exception:
    """What an answer means that holds nothing."""
    status = response.status
    if status in BUSY:
        return Trouble(f"it answered {reason}", after_s=seconds(response.getheader("Retry-After")))
    if status in (_CHANGED, NO_SUCH_RANGE):
        return Changed(f"the server answers {reason}")
    if status in _REFUSED:
        return Refused(reason)
    if status in _GONE:
        return Gone(reason)
    return NotAsAsked(f"it answered {reason}")


def seconds(retry_after: str | None) -> float | None:
    """Seconds that a server asks for; dates, which clocks disagree about, are passed over."""
    text = (retry_after or "").strip()
    return float(text) if text.isdecimal() and len(text) < 7 else None  # noqa: PLR2004  # digits
