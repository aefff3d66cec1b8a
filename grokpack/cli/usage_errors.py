"""Errors of the command line that Typer finds, as errors with a code."""

from __future__ import annotations

from typing import Any

from grokpack.core.errors import UnusableValue, WrongUsage


def usage_error(error: Any) -> UnusableValue | WrongUsage | None:  # noqa: ANN401  # Typer's own
    """Return what Typer says of a command line; None for an error of another kind."""
    if not hasattr(error, "format_message"):
        return None
    context = getattr(error, "ctx", None)
    parameter = getattr(error, "param", None)
    missing = hasattr(error, "param_type")
    if parameter is not None:
        name = max(parameter.opts, key=len) if parameter.opts else str(parameter.name)
    else:
        name = getattr(error, "option_name", None)
    near = sorted(getattr(error, "possibilities", None) or ())
    lists = f"`{context.command_path if context else 'grokpack'} --help` lists what there is"
    hint = f"did you mean {' or '.join(near)}? {lists}" if near else lists
    kind = UnusableValue if parameter is not None and not missing else WrongUsage
    said = error.message if near else error.format_message()
    return kind(said.rstrip("."), None, (("option", name),) if name else (), hint)
