"""Failures of requests that botocore makes: what they mean, and whether asking again may help."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from grokpack.core.errors import AccessRefused
from grokpack.core.optional_imports import import_extra
from grokpack.storage.http.aws_settings import EXTRA
from grokpack.storage.http.connection_failures import failed_attempt
from grokpack.storage.http.responses import BUSY, LastingFailure, RetryableFailure, plain
from grokpack.storage.http.retry_policy import retry_after_s

reached = threading.Event()
"""Set once a service has responded: its name resolves, whatever a name server says later."""
_PASSING = ("InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling")
"""AWS's codes of passing errors, which can come with any status, even that of success."""
_REASON_CHARACTERS = 300
_LOG_IN = (
    "`aws sts get-caller-identity` must succeed; where its session has expired, log in again:\n"
    "aws sso login"
)


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A service's response to a failed request; empty if none came.

    Attributes:
        status: The HTTP status.
        reason: The service's own name for the error.
        after_s: Seconds after which it asks for a retry, if it does.
    """

    status: int | None
    reason: str
    after_s: float | None

    @classmethod
    def of(cls, error: Any) -> ErrorResponse:  # noqa: ANN401  # of botocore
        """Extract the response from an error of botocore."""
        said = getattr(error, "response", None) or {}  # None if the connection broke
        about = said.get("ResponseMetadata", {})
        after_s = retry_after_s(about.get("HTTPHeaders", {}))
        return cls(about.get("HTTPStatusCode"), str(said.get("Error", {}).get("Code", "")), after_s)


def lasting(error: Any) -> LastingFailure | None:  # noqa: ANN401  # of botocore
    """Return the failure of a connection that a retry would not fix; None for others."""
    details = getattr(error, "kwargs", {})
    proxy = details.get("proxy_url")
    url = details.get("endpoint_url") or proxy
    if url is None or "error" not in details:
        return None
    failure = failed_attempt(details["error"], url, proxy, known=reached.is_set())
    return failure if isinstance(failure, LastingFailure) else None


def may_pass(error: Any) -> bool:  # noqa: ANN401  # of botocore
    """Return whether a retry might succeed: no response came, or one that says busy."""
    if lasting(error):
        return False
    errors = import_extra("botocore.exceptions", EXTRA)
    if not isinstance(error, errors.ClientError):
        return isinstance(error, (errors.HTTPClientError, errors.ConnectionError))
    response = ErrorResponse.of(error)
    return response.status in BUSY or response.reason in _PASSING


def no_keys(error: Any) -> Exception:  # noqa: ANN401  # of botocore
    """Return the failure of an attempt to get keys, as those of other requests are."""
    failure = lasting(error)
    if failure is not None:
        return failure
    reason = plain(str(error), _REASON_CHARACTERS)
    if may_pass(error):
        return RetryableFailure(f"no keys from AWS: {reason}", ErrorResponse.of(error).after_s)
    facts = (("happened", reason),)
    return AccessRefused("AWS gives no keys to sign with", None, facts, _LOG_IN)
