"""Requests that boto3 makes: on threads that can be abandoned, and retried if that may help.

boto3 has retries of its own, but sleeps up to twenty seconds between them, which nothing can
interrupt.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from grokpack.core.optional_imports import import_extra
from grokpack.storage.http import range_requests
from grokpack.storage.http.connection_failures import failed_attempt
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.http.responses import BUSY, REFUSED_CODES, LastingFailure, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.storage.http.request_threads import Request

T = TypeVar("T")

EXTRA = "buckets"  # extra that installs boto3

REFUSED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", *REFUSED_CODES)
"""Codes of refusals, which other keys or another region may mend."""
_reached = threading.Event()
"""Set once a bucket has responded: its name resolves, whatever a name server says later."""
_PASSING = ("InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling")
"""S3's codes of passing errors, which can come with any status, even that of success."""


def ask(work: Callable[[], T]) -> T:
    """Run requests until they succeed, fail for good, or have failed too often.

    A request that is abandoned because the run stops may still take effect.

    Raises:
        GrokpackError: GP403 once this thread is to stop.
        ClientError: botocore's error of the last attempt; likewise BotoCoreError.
    """
    errors = import_extra("botocore.exceptions", EXTRA)

    def persist(request: Request[Any]) -> T:
        tried = 0
        while True:
            request.check()
            try:
                result = work()
            except (errors.ClientError, errors.BotoCoreError) as error:
                tried += 1
                if tried >= range_requests.TRIES or not may_pass(error):
                    raise
                request.pause(range_requests.pause_s(tried, Answer.of(error).after_s))
            else:
                _reached.set()
                return result

    return run_request(persist)


@dataclass(frozen=True, slots=True)
class Answer:
    """A bucket's response to a failed request; empty if none came.

    Attributes:
        status: The HTTP status.
        reason: The service's own name for the error.
        after_s: Seconds after which it asks for a retry, if it does.
    """

    status: int | None
    reason: str
    after_s: float | None

    @classmethod
    def of(cls, error: Any) -> Answer:  # noqa: ANN401  # of botocore
        """Extract the response from an error of botocore."""
        said = getattr(error, "response", None) or {}  # None if the connection broke
        about = said.get("ResponseMetadata", {})
        after_s = seconds(about.get("HTTPHeaders", {}).get("retry-after"))
        return cls(about.get("HTTPStatusCode"), str(said.get("Error", {}).get("Code", "")), after_s)


def check_reach(error: Any, path: str) -> None:  # noqa: ANN401  # of botocore
    """Check that a connection may come about another time.

    Raises:
        GrokpackError: GP243 if asking again changes nothing.
    """
    failure = _lasting(error)
    if failure is not None:
        raise range_requests.out_of_reach(path, failure) from error


def _lasting(error: Any) -> LastingFailure | None:  # noqa: ANN401  # of botocore
    """Return the failure of a connection that asking again would not mend; None for others."""
    details = getattr(error, "kwargs", {})
    proxy = details.get("proxy_url")
    url = details.get("endpoint_url") or proxy
    if url is None or "error" not in details:
        return None
    failure = failed_attempt(details["error"], url, proxy, known=_reached.is_set())
    return failure if isinstance(failure, LastingFailure) else None


def may_pass(error: Any) -> bool:  # noqa: ANN401  # of botocore
    """Return whether a retry might succeed: no response came, or one that says busy."""
    if _lasting(error):
        return False
    errors = import_extra("botocore.exceptions", EXTRA)
    if not isinstance(error, errors.ClientError):
        return isinstance(error, (errors.HTTPClientError, errors.ConnectionError))
    answer = Answer.of(error)
    return answer.status in BUSY or answer.reason in _PASSING
