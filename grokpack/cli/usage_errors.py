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
    label, name = "option", getattr(error, "option_name", None)
    if parameter is not None:
        name = max(parameter.opts, key=len)
        if parameter.param_type_name == "argument":
            label, name = "argument", parameter.metavar or name
    near = sorted(getattr(error, "possibilities", None) or ())
    lists = f"`{context.command_path if context else 'grokpack'} --help` lists what there is"
    hint = f"{_meant(context, name, near)}{lists}"
    kind = UnusableValue if parameter is not None and not missing else WrongUsage
    said = error.message if near else error.format_message()
    return kind(said.rstrip("."), None, ((label, name),) if name else (), hint)


def _meant(
    context: Any,  # noqa: ANN401  # Typer's own
    name: str | None,
    near: list[str],
) -> str:
    """Say what was probably meant by an unknown name: an argument, or one of those near it."""
    word = name.lstrip("-").upper() if name and name.startswith("-") else ""
    for parameter in context.command.params if context and word else ():
        argument = parameter.metavar or ""
        if parameter.param_type_name == "argument" and argument.startswith(word):
            return f"{argument} is given without an option: `{context.command_path} {argument}`; "
    return f"did you mean {' or '.join(near)}? " if near else ""
