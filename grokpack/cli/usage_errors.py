"""Errors of the command line that Typer finds, as errors with a code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.cli.command import declared
from grokpack.core.errors import UnusableValue, WrongUsage

if TYPE_CHECKING:
    from collections.abc import Sequence

_WANTED = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:g} or less",
}
"""Numbers that are taken, by pydantic's name of the error."""


def usage_error(
    error: Any,  # noqa: ANN401  # Typer's own
    words: Sequence[str],
) -> UnusableValue | WrongUsage | None:
    """Return what Typer says of the words of a command line; None for an error of another kind."""
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
    program = " ".join(["grokpack", *(word for word in words[:1] if word in declared)])
    lists = f"`{context.command_path if context else program} --help` lists what there is"
    hint = f"{_meant(context, name, near)}{lists}"
    if label == "option" and not missing and hasattr(error.__cause__, "errors"):
        return _unusable(parameter, name, error.__cause__.errors()[0], lists)
    kind = UnusableValue if parameter is not None and not missing else WrongUsage
    said = error.message if near else error.format_message()
    return kind(said.rstrip("."), None, ((label, name),) if name else (), hint)


def _unusable(
    parameter: Any,  # noqa: ANN401  # Typer's own
    option: str | None,
    wrong: Any,  # noqa: ANN401  # pydantic's account of it
    lists: str,
) -> UnusableValue:
    """Return the error for a value that is no number, or none that an option takes."""
    given, choices = wrong["input"], (parameter.metavar or "").split("|")
    if len(choices) > 1:
        return UnusableValue.choice(str(option), given, choices)
    wanted = _WANTED.get(wrong["type"], wrong["msg"]).format(**wrong.get("ctx", {}))
    facts = (("option", str(option)), ("takes", wanted))
    return UnusableValue(f"{option} does not take `{given}`", None, facts, lists)


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
