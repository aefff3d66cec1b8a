"""Parsing of sizes, durations, shares and numbers of workers."""

from __future__ import annotations

import os
import re

from grokpack.core.errors import UnusableValue

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


def parse_bytes(option: str, text: str) -> int:
    """Parse `512MiB`, `1.5GB` or a number of bytes.

    Args:
        option: The option that has the value, for the error.
        text: Its value.

    Raises:
        GrokpackError: GP346 for anything else, and for less than a byte.
    """
    match = re.fullmatch(rf"\s*({_NUMBER})\s*([kmgt]?i?b?)\s*", text, re.IGNORECASE)
    unit = match[2].upper() if match else ""
    unit = unit if unit in _UNITS else f"{unit}B"
    if match is None or unit not in _UNITS:
        raise _unusable(option, text, "a size", "512MiB or 2GB")
    nbytes = int(float(match[1]) * _UNITS[unit])
    if nbytes < 1:
        raise UnusableValue.below(option, text, "1 byte")
    return nbytes


def _unusable(option: str, text: str, form: str, example: str) -> UnusableValue:
    """Return the error for a value, with the variable that gave it, if one did."""
    variable = next((name for name in _VARIABLES if os.environ.get(name) == text), None)
    value = f"`{text}`" if variable is None else f"`{text}` of {variable}"
    facts = (("option", option),)
    return UnusableValue(f"{option}: {value} is not {form}", None, facts, f"write {example}")


def parse_seconds(option: str, text: str | None) -> float | None:
    """Parse `90`, `30m`, `2h` into seconds; None stays None.

    No time at all is one as well: a script that has none left stops at once, to go on later.

    Raises:
        GrokpackError: GP346 for anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(rf"\s*({_NUMBER})\s*([smhdw]?)\s*", text)
    if match is None:
        raise _unusable(option, text, "a duration", "90s, 30m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def parse_part(option: str, text: str) -> tuple[int, int]:
    """Parse `3/10` into a number, from 1, and how many there are.

    Raises:
        GrokpackError: GP346 for anything else.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)  # beyond, each has nothing
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise _unusable(option, text, "a part", "3/10, the third of ten")
    return int(match[1]), int(match[2])


def parse_devices(option: str, text: str) -> tuple[int, int]:
    """Parse `8x80GB` into a number of devices and the bytes of each; `24GiB` is one device.

    Raises:
        GrokpackError: GP346 for anything else.
    """
    match = re.fullmatch(
        rf"\s*(?:(\d{{1,4}})\s*[x\u00d7]\s*)?({_NUMBER}\s*[kmgt]i?b?)\s*", text, re.IGNORECASE
    )
    count = int(match[1] or 1) if match else 0
    if match is None or not count:
        raise _unusable(option, text, "a number of devices and the memory of each", "8x80GB")
    return count, parse_bytes(option, match[2])


def parse_percentage(option: str, text: str) -> float:
    """Parse `5%` into a fraction.

    Raises:
        GrokpackError: GP346 for anything else.
    """
    try:
        fraction = float(text.removesuffix("%")) / _HUNDRED
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1:
        raise _unusable(option, text, "a share", "5%, up to 100%")
    return fraction


def parse_workers(text: str | None) -> int | None:
    """Parse a number of threads, or `serial`; None stays None.

    Raises:
        GrokpackError: GP346 for anything else.
    """
    if text is None:
        return None
    if text == "serial":
        return 1
    from grokpack.execution.workers.dask_cluster import SCHEME

    if text.startswith(SCHEME):
        what = "this command runs on threads of one machine, not on a cluster"
        hint = "--workers 4, whatever GROKPACK_WORKERS says"
        raise UnusableValue(what, None, (("option", "--workers"),), hint)
    if not text.isdecimal() or len(text) > _DIGITS or int(text) < 1:
        raise _unusable(
            "--workers", text, "a number of workers", "--workers 4, or --workers serial"
        )
    return int(text)
