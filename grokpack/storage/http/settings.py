"""Settings from the environment, checked before the first request and named if they are wrong."""

from __future__ import annotations

import math
import os
import re

from grokpack.core.errors import GrokpackError, Place, UnusableValue
from grokpack.storage.urls import WEB, host_fault

TRUE = ("1", "ON", "YES", "TRUE")
"""Values, in capitals, that switch a variable of huggingface_hub on."""
_LONGEST_S = 86400.0
_REGION = re.compile(r"[A-Za-z0-9-]{1,60}")
_SECRET = re.compile(r"[!-~]+")  # what a header can hold, without spaces


def whole_number(variable: str, default: int, most: int) -> int:
    """Return a number of the environment, between 0 and `most`.

    Raises:
        GrokpackError: GP346 if it is another.
    """
    text = os.environ.get(variable, "").strip()
    return valid_number(text, variable, most) if text else default


def valid_number(text: str, origin: str, most: int) -> int:
    """Return a number between 0 and `most`.

    Raises:
        GrokpackError: GP346 if it is another.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > most:
        raise unusable(origin, f"`{text}` is no whole number from 0 to {most:,}")
    return int(text)


def seconds(variable: str, default: float) -> float:
    """Return a number of seconds of the environment, more than 0 and a day at most.

    Raises:
        GrokpackError: GP346 if it is another.
    """
    text = os.environ.get(variable, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 0 < value <= _LONGEST_S:
        raise unusable(variable, f"`{text}` is no number of seconds, such as 30 or 0.5")
    return value


def endpoint(*variables: str) -> str | None:
    """Return the URL in the first of these variables that is set; None if none is.

    Raises:
        GrokpackError: GP224 if it is not a web address without user and query.
    """
    variable = _first_set(variables)
    return None if variable is None else valid_endpoint(os.environ[variable], variable)


def valid_endpoint(text: str, origin: str) -> str:
    """Return a URL without spaces around it and without a slash at its end.

    Args:
        text: The setting.
        origin: The variable, or what else it was read from.

    Raises:
        GrokpackError: GP224 if it is not a web address without user and query.
    """
    url = text.strip().rstrip("/")
    scheme, _, rest = url.partition("://")
    fault: str | None = "it is no web address, which begins with https:// or http://"
    if scheme in WEB:
        fault = host_fault(rest.partition("/")[0])
    if any(mark in rest for mark in "?#\\ ") or not rest.isprintable():
        fault = "a query, a fragment or such characters cannot be part of it"
    if fault is not None:
        hint = "write https://HOST, or http://HOST:PORT"
        raise GrokpackError("GP224", f"{origin} cannot be used: {fault}", Place(url), hint=hint)
    return url


def region(*variables: str) -> str | None:
    """Return the region in the first of these variables that is set; None if none is.

    Raises:
        GrokpackError: GP346 if it cannot be part of a host's name.
    """
    variable = _first_set(variables)
    return None if variable is None else valid_region(os.environ[variable], variable)


def valid_region(text: str, origin: str) -> str:
    """Return a region without spaces around it.

    Raises:
        GrokpackError: GP346 if it cannot be part of a host's name.
    """
    name = text.strip()
    if not _REGION.fullmatch(name):
        raise unusable(origin, "a region is a word such as eu-central-1")
    return name


def _first_set(variables: tuple[str, ...]) -> str | None:
    return next((name for name in variables if os.environ.get(name, "").strip()), None)


def is_anonymous() -> bool:
    """Return whether no keys and no tokens are to be sent."""
    return bool(os.environ.get("GROKPACK_ANONYMOUS"))


def secret(variable: str) -> str | None:
    """Return a key or a token of the environment, without spaces around it; None if not set.

    Raises:
        GrokpackError: GP346 if it holds what cannot be sent.
    """
    text = os.environ.get(variable, "").strip()
    if text and not _SECRET.fullmatch(text):
        raise unusable(variable, "it holds spaces, line breaks or letters that no key or token has")
    return text or None


def unusable(variable: str, why: str) -> GrokpackError:
    """Return the error for a variable."""
    hint = "correct or unset it; `grokpack help environment` says what it means"
    return UnusableValue(f"{variable} cannot be used: {why}", hint=hint)
