"""Crash reports: what happened, in a file without secrets that can be sent."""

from __future__ import annotations

import os
import tempfile
import traceback

import typer

from grokpack import storage
from grokpack.core import escaping
from grokpack.core.cache_folder import cache_folder
from grokpack.core.errors import GrokpackError


def bug(error: BaseException, *, verbose: bool = False) -> GrokpackError:
    """Make the error for an unexpected exception, and write its report if possible.

    Args:
        error: The exception.
        verbose: Whether its traceback also goes to standard error.
    """
    text = "".join(traceback.format_exception(error))
    if verbose:
        typer.echo(escaping.escape_terminal(text), err=True)
    path = _written(text)
    hint = (
        f"please report it, with {escaping.escape_line(path)}"
        if path
        else "please report what `--verbose` shows"
    )
    return GrokpackError("GP901", f"bug in grokpack: {type(error).__name__}: {error}", hint=hint)


def _written(text: str) -> str | None:
    """Write a report and return its path; None if it cannot be written."""
    for folder in (cache_folder(), tempfile.gettempdir()):
        path = os.path.join(folder, f"crash-{os.getpid()}.txt")
        try:
            storage.write_whole(path, escaping.escape_prose(text).encode())
        except (GrokpackError, OSError):
            continue
        return path
    return None
