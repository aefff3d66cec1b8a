"""Text of `grokpack inspect --fit`: a line for each format, then the command of each program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.report.text import numbers, text_tables
from grokpack.report.text.text_tables import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.documents.fit_json import FitJson, FormatFitJson

_COLUMNS = (
    Column("format", left=True),
    Column("program", left=True),
    Column("devices"),
    Column("experts"),
    Column("others"),
    Column("cache"),
    Column("left"),
    Column("fits on", left=True),
)
_GIB = 1 << 30
_GB = 10**9


def render(fit: FitJson, title: str) -> str:
    """Render what each format takes on a device, and what to write for the best that fits.

    Args:
        fit: The answer.
        title: The checkpoint and its model, in words.
    """
    rows = [_row(form) for form in fit["formats"] if form["loads"]]
    return "\n".join(
        [
            f"{title} on {_devices(fit)}",
            "",
            *_assumptions(fit),
            "",
            *text_tables.table(_COLUMNS, rows),
            "",
            *_best(fit),
        ]
    )


def _devices(fit: FitJson) -> str:
    count, nbytes = fit["devices"], fit["device_bytes"]
    noun = "device" if count == 1 else "devices"
    return f"{count} {noun} of {byte_size(nbytes)} ({nbytes / _GIB:.2f} GiB)"


def _assumptions(fit: FitJson) -> Iterator[str]:
    sequences = "sequence" if fit["batch"] == 1 else "sequences"
    work = f"{fit['batch']:,} {sequences} of {fit['context']:,} tokens"
    yield f"  cache    {byte_size(fit['cache_bytes'])}: {work}, in 16 bits"
    yield f"  reserve  {byte_size(fit['reserve_bytes'])} of each, for activations and buffers"
    sold, rest = divmod(fit["device_bytes"], _GB)
    if not rest:
        meant = f"--fit {fit['devices']}x{sold}GiB"
        yield f"  a card sold as {sold} GB mostly has {sold} GiB: `{meant}`"


def _row(form: FormatFitJson) -> tuple[str, ...]:
    """Return the cells of a format, on as many devices as can share it."""
    load = form["loads"][-1]
    fitting = [one["width"] for one in form["loads"] if one["left"] >= 0]
    return (
        form["format"],
        form["program"] or "-",
        str(load["width"]),
        *(byte_size(load[part]) for part in ("experts", "others", "cache", "left")),
        numbers.ranges(fitting) or "none",
    )


def _best(fit: FitJson) -> Iterator[str]:
    """Yield a line for each program with a format that fits; else how much is missing."""
    if fit["best"]:
        yield "  best that fits, by program"
        width = max(len(row["program"]) for row in fit["best"])
        for row in fit["best"]:
            yield f"    {row['program']:<{width}}  {row['command'] or 'this checkpoint, as it is'}"
        return
    load, name = max(
        ((load, form["format"]) for form in fit["formats"] for load in form["loads"]),
        key=lambda found: found[0]["left"],
    )
    if load["left"] < 0:
        lacking = byte_size(-load["left"])
        yield f"  nothing fits: {name}, the nearest, lacks {lacking} on each of {load['width']}"
