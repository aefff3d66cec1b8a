"""Retry policy of requests: how many attempts, how long apart; for servers, buckets and the hub.

Which failures are worth another attempt is decided where they are recognized: `responses`,
`connection_failures`, `botocore_failures`.
"""

from __future__ import annotations

import random
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from grokpack.storage.http import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ATTEMPTS = 1 + settings.whole_number("GROKPACK_HTTP_RETRIES", 7, 1000)  # half a minute in all
_MAX_ATTEMPTS_UNANSWERED = 4  # a mistyped host, or a server that is not started, stays silent
_MAX_UNEXPECTED = 3  # a proxy's error page may pass; a server without ranges stays as it is
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.25, 20.0
_LONGEST_RETRY_AFTER_S = 300.0
_SPENT_QUOTA = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,6})\b")
"""A quota of the header `RateLimit` of which nothing remains, and the seconds until its reset; the
hub, which counts requests in windows of five minutes, sends no other."""


def gives_up(failures: int, *, unexpected: int = 0, host_answered: bool = True) -> bool:
    """Decide whether a request that has failed so often is not tried again.

    Args:
        failures: Failed attempts so far.
        unexpected: Those of them whose response was not what was asked for.
        host_answered: Whether the host has ever answered this process.
    """
    most = MAX_ATTEMPTS if host_answered else min(MAX_ATTEMPTS, _MAX_ATTEMPTS_UNANSWERED)
    return failures >= most or unexpected >= min(MAX_ATTEMPTS, _MAX_UNEXPECTED)


def delay_s(failures: int, asked_s: float | None) -> float:
    """Return the seconds until the next attempt: exponential with jitter, or as asked."""
    if asked_s is not None:
        return min(asked_s, _LONGEST_RETRY_AFTER_S)
    longest: float = min(_FIRST_DELAY_S * 2 ** (failures - 1), _LONGEST_DELAY_S)
    return longest * random.uniform(0.75, 1.25)  # noqa: S311  # no secret


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds after which a server wants to be asked again; None if it does not say.

    Args:
        headers: Of its response; names are in small letters, or case does not matter.
    """
    text = (headers.get("retry-after") or "").strip()
    if text.isdecimal() and len(text) < 7:  # noqa: PLR2004  # digits
        return float(text)
    try:  # a date, which is taken by the server's own clock
        left = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date") or "")
    except (TypeError, ValueError):  # one with a time zone and one without, or no dates
        spent = _SPENT_QUOTA.search(headers.get("ratelimit") or "")
        return float(spent[1]) if spent else None
    return max(left.total_seconds(), 0.0)
