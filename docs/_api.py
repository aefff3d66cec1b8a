"""The page of the library, made from the docstrings of its public names."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import TYPE_CHECKING

import grokpack

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECTIONS = ("Args", "Attributes", "Returns", "Raises")
_FEW, _LINE = 3, 80  # arguments, characters: more are broken into lines
_INTRODUCTION = """\
<!-- Made by docs/_generate.py from the docstrings of grokpack's public names: edit those. -->

# Library

Everything that the command line does is a function here. These names stay; what is below them in
modules of their own may move. Each is imported when it is first used: `import grokpack` loads
neither numpy nor tensorstore. Errors are `GrokpackError`, with a [code](codes.md).
"""


def api_page() -> str:
    """One heading for each public name."""
    lines = [_INTRODUCTION]
    for name in dir(grokpack):
        if not name.startswith("_"):
            lines += _entry(name, getattr(grokpack, name))
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, what: object) -> Iterator[str]:
    yield from (f"## {name}", "")
    if inspect.isclass(what):
        yield from ("```python", f"class {name}{_signature(what)}", "```", "")
    else:
        yield from ("```python", f"{name}{_signature(what)}", "```", "")
    yield from _docstring(what)
    if inspect.isclass(what):
        yield from _methods(what)


def _signature(what: object) -> str:
    """Arguments as they are written, one a line where they are many."""
    if dataclasses.is_dataclass(what):
        arguments = [f"{f.name}: {f.type}" for f in dataclasses.fields(what)]
        return f"({', '.join(arguments)})" if len(arguments) <= _FEW else _broken(arguments)
    found = inspect.signature(what)
    arguments, starred = [], False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            arguments.append("*")
            starred = True
        default = "" if parameter.default is parameter.empty else f" = {_default(parameter)}"
        arguments.append(f"{parameter.name}: {parameter.annotation}{default}")
    back = f" -> {found.return_annotation}"
    one = f"({', '.join(arguments)}){back}"
    return one if len(one) <= _LINE else _broken(arguments) + back


def _broken(arguments: list[str]) -> str:
    return "(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def _default(parameter: inspect.Parameter) -> str:
    return getattr(parameter.default, "__name__", None) or repr(parameter.default)


def _docstring(what: object) -> Iterator[str]:
    """The docstring's sentences, its sections as lists."""
    text = inspect.getdoc(what) or ""
    for paragraph in text.split("\n\n"):
        first, _, rest = paragraph.partition("\n")
        if first.rstrip(":") in _SECTIONS and first.endswith(":"):
            yield from (f"**{first.rstrip(':')}**", "")
            yield from (*_items(rest), "")
        else:
            yield from (paragraph, "")


def _items(block: str) -> Iterator[str]:
    rows = re.sub(r"\n {5,}", " ", block).splitlines()
    for row in map(str.strip, rows):
        name, colon, meaning = row.partition(": ")
        yield f"- `{name}`: {meaning}" if colon and " " not in name else f"- {row}"


def _methods(what: type) -> Iterator[str]:
    """Own public methods and properties, with their first sentence."""
    rows = [
        f"- `{name}{'' if isinstance(value, property) else '()'}`: {_first(value)}"
        for name, value in vars(what).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    ]
    if rows:
        yield from ("**Methods and properties**", "", *rows, "")


def _first(what: object) -> str:
    return (inspect.getdoc(what) or "").split("\n\n")[0].replace("\n", " ")
