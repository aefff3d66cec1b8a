"""Requests that botocore makes: on threads that can be abandoned, and retried if that may help.

botocore has retries of its own, but sleeps up to twenty seconds between them, which nothing can
interrupt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from grokpack.core.optional_imports import import_extra
from grokpack.storage.http import botocore_failures, retry_policy
from grokpack.storage.http.aws_settings import EXTRA
from grokpack.storage.http.botocore_failures import ErrorResponse
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.http.responses import REFUSED_CODES, RetryableFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.storage.http.request_threads import Request

T = TypeVar("T")

REFUSED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", *REFUSED_CODES)
"""Codes of refusals, which other keys or another region may resolve."""


def ask(work: Callable[[], T]) -> T:
    """Run requests until they succeed, fail for good, or have failed too often.

    A request that is abandoned because the run stops may still take effect.

    Raises:
        GrokpackError: GP403 once this thread is to stop, GP222 if their issuer refuses keys.
        ClientError: botocore's error of the last attempt; likewise BotoCoreError.
        RetryableFailure: The last attempt to renew keys or a token.
        LastingFailure: Another attempt to renew them would fail as well.
    """
    errors = import_extra("botocore.exceptions", EXTRA)

    def persist(request: Request[Any]) -> T:
        failures = 0
        while True:
            request.check()
            try:
                return work()
            except (errors.ClientError, errors.BotoCoreError, RetryableFailure) as error:
                failures += 1
                if retry_policy.gives_up(failures) or not may_pass(error):
                    raise
                request.pause(retry_policy.delay_s(failures, _after_s(error)))

    return run_request(persist)


def may_pass(error: Exception) -> bool:
    """Return whether a retry might succeed."""
    return isinstance(error, RetryableFailure) or botocore_failures.may_pass(error)


def _after_s(error: Exception) -> float | None:
    return error.after_s if isinstance(error, RetryableFailure) else ErrorResponse.of(error).after_s
