"""Decorator that declares a command, with options that commands share in groups.

    @command("synth")
    def synth(session: Session, out: Annotated[Path, typer.Argument(...)], run: RunFlags) -> None:

Typer gets one option for each parameter and for each field of a group, then the options of every
command's output. Errors become messages and exit statuses; a signal asks the body to stop.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from typer.models import OptionInfo, ParameterInfo

from grokpack.cli.options import OutputFlags
from grokpack.cli.session import Session, session
from grokpack.core.errors import UnusableValue

CommandBody = Callable[..., None]

_PATH = re.compile(r"(SRC|CKPT|PATH|FILE|OUT|OTHER|A|B)\b")  # how the metavar of a path begins
_TEXT = "TEXT"  # metavar of what may be empty


@dataclass(frozen=True, slots=True)
class Declared:
    """Command as Typer takes it.

    Attributes:
        run: Function with an option for each parameter.
        examples: Lines for a shell, shown at the end of its help.
    """

    run: CommandBody
    examples: tuple[str, ...]


declared: dict[str, Declared] = {}
"""Commands of the modules imported so far, by name."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """Parameter with fixed choices, and the option and the variable that set it."""

    name: str
    flag: str
    allowed: tuple[Any, ...]
    variable: str | None

    def check(self, given: Any) -> None:  # noqa: ANN401  # words and numbers
        if given is not None and given not in self.allowed:
            from_it = self.variable is not None and os.environ.get(self.variable) == given
            variable = self.variable if from_it else None
            raise UnusableValue.choice(self.flag, given, self.allowed, variable)


def command(name: str, *examples: str, output: bool = True) -> Callable[[CommandBody], CommandBody]:
    """Decorate the body of a command.

    Args:
        name: Name of the command, also in JSON.
        examples: Lines for a shell, without the program's name, that show its uses.
        output: Whether it has the options of `OutputFlags`.
    """

    def decorate(body: CommandBody) -> CommandBody:
        hints = get_type_hints(body, include_extras=True)
        groups = {
            key: hint for key, hint in hints.items() if is_dataclass(hint) and hint is not Session
        }
        shown = list(_own_parameters(body, hints, groups))
        if output:
            shown += _fields(OutputFlags)
        choices = [choice for choice in map(_choice, shown) if choice is not None]
        paths = [parameter.name for parameter in shown if _is_path(parameter)]

        def run(**given: Any) -> None:  # noqa: ANN401  # Typer's values
            typed = dict(given)
            given |= {key: _expanded(given[key]) for key in paths}
            flags = _taken(OutputFlags, given) if output else OutputFlags()
            with session(name, flags) as current:
                _refuse_lost(typed, shown)
                for choice in choices:
                    choice.check(getattr(flags, choice.name, given.get(choice.name)))
                for key, group in groups.items():
                    given[key] = _taken(group, given)
                body(current, **given)

        run.__name__, run.__doc__, run.__module__ = name, body.__doc__, body.__module__
        signature = inspect.Signature([_for_typer(parameter) for parameter in shown])
        run.__signature__ = signature  # type: ignore[attr-defined]  # what Typer goes by
        run.__annotations__ = {}
        lines = tuple(f"grokpack {line}" for line in examples)
        declared[name] = Declared(run, lines)
        return run

    return decorate


def _own_parameters(
    body: CommandBody, hints: dict[str, Any], groups: dict[str, Any]
) -> Iterator[inspect.Parameter]:
    """Yield the parameters of a body, with the fields of each group in place of the group."""
    for name, parameter in inspect.signature(body).parameters.items():
        if name in groups:
            yield from _fields(groups[name])
        elif hints[name] is not Session:
            yield parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])


def _fields(group: Any) -> Iterator[inspect.Parameter]:  # noqa: ANN401  # a dataclass
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=hints[field.name],
        )


def _taken(group: Any, given: dict[str, Any]) -> Any:  # noqa: ANN401  # a dataclass
    """Take the fields of a group out of what was given."""
    return group(**{field.name: given.pop(field.name) for field in fields(group)})


def _is_path(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter names a file or folder, as its metavar says."""
    option = _declared_by(parameter)
    return option is not None and _PATH.match(option.metavar or "") is not None


def _expanded(path: Any) -> Any:  # noqa: ANN401  # a string, a `Path`, or neither
    """Expand `~`, which no shell does in `--out=~/x` or in a variable's value."""
    if not isinstance(path, (str, Path)) or not str(path).startswith("~"):
        return path
    return type(path)(os.path.expanduser(path))


def _flags(parameter: inspect.Parameter) -> tuple[str, ...]:
    """Return how an option is written, its full name first; nothing of an argument."""
    option = _option(parameter)
    return (str(option.default), *(option.param_decls or ())) if option else ()


def _refuse_lost(typed: dict[str, Any], shown: list[inspect.Parameter]) -> None:
    """Refuse an option that was taken for the value of the one before it, and empty values.

    `-o --dry-run` would write a folder of that name; a value is empty where a variable is not set,
    and would be taken for none given.

    Raises:
        UnusableValue: GP346.
    """
    known = {flag for parameter in shown for flag in _flags(parameter)}
    for parameter in shown:
        value, flags, declaration = (
            typed[parameter.name],
            _flags(parameter),
            _declared_by(parameter),
        )
        name = flags[0] if flags else getattr(declaration, "metavar", None) or parameter.name
        facts = (("option" if flags else "argument", str(name)),)
        values = value if isinstance(value, list) else [value]
        taken = next((one for one in map(str, values) if flags and one in known), None)
        if taken is not None:
            file = f"; a file of that name is `./{taken}`" if _is_path(parameter) else ""
            what = f"{name} has no value: `{taken}` is an option"
            raise UnusableValue(what, None, facts, f"give {name} a value{file}")
        may_be_empty = parameter.default == "" or getattr(declaration, "metavar", None) == _TEXT
        if "" in values and not may_be_empty:
            wanted = "name a file or folder" if _is_path(parameter) else f"give {name} a value"
            hint = f"{wanted}; a variable that is not set gives an empty one"
            raise UnusableValue(f"{name} is empty", None, facts, hint)


def _choice(parameter: inspect.Parameter) -> _Choice | None:
    """Return the fixed choices of a parameter whose type is a `Literal`."""
    option, allowed = _option(parameter), _allowed(parameter)
    if option is None or not allowed:
        return None
    flag = str(option.default)  # Typer keeps the name there
    return _Choice(parameter.name, flag, allowed, str(option.envvar) if option.envvar else None)


def _for_typer(parameter: inspect.Parameter) -> inspect.Parameter:
    """Convert a parameter for Typer: of a plain type, with choices to show and complete.

    Typer would refuse other values itself, as wrong usage without a code.
    """
    option, allowed = _option(parameter), _allowed(parameter)
    if option is None or not allowed:
        return parameter
    words = [str(value) for value in allowed]
    option = copy(option)
    option.metavar = "|".join(words)
    option.autocompletion = lambda: words
    plain: Any = type(allowed[0])
    if NoneType in get_args(_plain_type(parameter)):
        plain |= None
    return parameter.replace(annotation=Annotated[plain, option])


def _option(parameter: inspect.Parameter) -> OptionInfo | None:
    """Return the option that annotates a parameter."""
    found = _declared_by(parameter)
    return found if isinstance(found, OptionInfo) else None


def _declared_by(parameter: inspect.Parameter) -> ParameterInfo | None:
    """Return the option or the argument that annotates a parameter."""
    if get_origin(parameter.annotation) is not Annotated:
        return None
    return next(
        (one for one in get_args(parameter.annotation) if isinstance(one, ParameterInfo)), None
    )


def _plain_type(parameter: inspect.Parameter) -> Any:  # noqa: ANN401  # a type of any form
    return get_args(parameter.annotation)[0]


def _allowed(parameter: inspect.Parameter) -> tuple[Any, ...]:
    """Return the values of a `Literal`, which may be optional; none for another type."""
    if get_origin(parameter.annotation) is not Annotated:
        return ()
    kind = _plain_type(parameter)
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return next((get_args(one) for one in kinds if get_origin(one) is Literal), ())
