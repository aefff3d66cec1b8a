"""Requests that boto3 makes: on threads that can be left, tried again where that may help.

boto3 tries again by itself, but sleeps up to twenty seconds in between, which nothing ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from grokpack.core.optional_imports import load
from grokpack.storage.http import range_requests
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.http.responses import BUSY, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.storage.http.request_threads import Request

T = TypeVar("T")

EXTRA = "buckets"  # which installs boto3

_PASSING = ("InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling")
"""Codes of S3 that come with other statuses as well, that of success among them."""


def ask(work: Callable[[], T]) -> T:
    """Do some requests until they succeed, fail for good, or have failed too often.

    What is left because the run stops may still be carried out.

    Raises:
        GrokpackError: GP403 once this thread shall stop.
        ClientError: As botocore has it, of the last attempt; likewise BotoCoreError.
    """
    errors = load("botocore.exceptions", EXTRA)

    def persist(flight: Request[Any]) -> T:
        tried = 0
        while True:
            flight.check()
            try:
                return work()
            except (errors.ClientError, errors.BotoCoreError) as error:
                tried += 1
                if tried >= range_requests.TRIES or not may_pass(error):
                    raise
                flight.pause(range_requests.pause_s(tried, Answer.of(error).after_s))

    return run_request(persist)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a bucket said with an error; all is empty where no answer came.

    Attributes:
        status: Of HTTP.
        reason: The service's own name for the error.
        after_s: Seconds that it asks for, if it does.
    """

    status: int | None
    reason: str
    after_s: float | None

    @classmethod
    def of(cls, error: Any) -> Answer:  # noqa: ANN401  # of botocore
        """The answer in an error of botocore's."""
        said = getattr(error, "response", None) or {}  # None where a connection broke off
        about = said.get("ResponseMetadata", {})
        after_s = seconds(about.get("HTTPHeaders", {}).get("retry-after"))
        return cls(about.get("HTTPStatusCode"), str(said.get("Error", {}).get("Code", "")), after_s)


def may_pass(error: Any) -> bool:  # noqa: ANN401  # of botocore
    """Whether a request might succeed if it is made again: nobody answered, or one that is busy."""
    errors = load("botocore.exceptions", EXTRA)
    if not isinstance(error, errors.ClientError):
        return isinstance(error, (errors.HTTPClientError, errors.ConnectionError))
    answer = Answer.of(error)
    return answer.status in BUSY or answer.reason in _PASSING
