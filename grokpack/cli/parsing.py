"""Parsing of sizes, durations, shares and numbers of workers."""

from __future__ import annotations

import os
import re

from grokpack.core.errors import GrokpackError

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}
_HUNDRED = 100.0
_DIGITS = 18  # most digits of a number of bytes, seconds or threads
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_VARIABLES = ("GROKPACK_MEMORY", "GROKPACK_NETWORK_MEMORY", "GROKPACK_WORKERS")
_NUMBER = rf"\d{{1,{_DIGITS}}}(?:\.\d{{1,{_DIGITS}}})?"


def parse_bytes(text: str) -> int:
    """Parse `512MiB`, `1.5GB` or a number of bytes.

    Raises:
        GrokpackError: GP304 for anything else.
    """
    match = re.fullmatch(rf"\s*({_NUMBER})\s*([kmgt]?i?b?)\s*", text, re.IGNORECASE)
    unit = match[2].upper() if match else ""
    unit = unit if unit in _UNITS else f"{unit}B"
    if match is None or unit not in _UNITS:
        raise GrokpackError("GP304", f"{_shown(text)} is not a size", hint="write 512MiB or 2GB")
    return int(float(match[1]) * _UNITS[unit])


def _shown(text: str) -> str:
    """Return a value for a message, with the variable that gave it, if one did."""
    variable = next((name for name in _VARIABLES if os.environ.get(name) == text), None)
    return f"`{text}`" if variable is None else f"`{text}` of {variable}"


def parse_seconds(text: str | None) -> float | None:
    """Parse `90`, `30m`, `2h` into seconds; None stays None.

    Raises:
        GrokpackError: GP304 for anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(rf"\s*({_NUMBER})\s*([smhdw]?)\s*", text)
    if match is None:
        raise GrokpackError("GP304", f"`{text}` is not a duration", hint="write 90s, 30m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def parse_part(text: str, noun: str, hint: str) -> tuple[int, int]:
    """Parse `3/10` into a number and how many there are.

    Args:
        text: The option's value.
        noun: Name of what is parsed, for the error.
        hint: Description of the right form.

    Raises:
        GrokpackError: GP304 for anything else.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)  # beyond, each has nothing
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise GrokpackError("GP304", f"`{text}` is no {noun}", hint=hint)
    return int(match[1]), int(match[2])


def parse_percentage(text: str) -> float:
    """Parse `5%` into a fraction.

    Raises:
        GrokpackError: GP304 for anything else.
    """
    try:
        fraction = float(text.removesuffix("%")) / _HUNDRED
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1:
        raise GrokpackError("GP304", f"`{text}` is no share", hint="write 5%, up to 100%")
    return fraction


def parse_workers(text: str | None) -> int | None:
    """Parse a number of threads, or `serial`; None stays None.

    Raises:
        GrokpackError: GP304 for anything else.
    """
    if text is None:
        return None
    if text == "serial":
        return 1
    from grokpack.execution.workers.dask_cluster import SCHEME

    if text.startswith(SCHEME):
        what = "this command runs on threads of one machine, not on a cluster"
        raise GrokpackError("GP304", what, hint="--workers 4, whatever GROKPACK_WORKERS says")
    if not text.isdecimal() or len(text) > _DIGITS or int(text) < 1:
        raise GrokpackError(
            "GP304",
            f"{_shown(text)} is not a number of workers",
            hint="write --workers 4, or --workers serial",
        )
    return int(text)
