"""The page of the library, made from the docstrings of its public names."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import TYPE_CHECKING, Any

from _api_topics import TOPICS

import grokpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _api_topics import Topic

_SECTIONS = ("Args", "Attributes", "Returns", "Raises")
_LINE = 80  # characters; a longer signature is broken into lines
_GROUPED = 10_000  # numbers from here on have their digits in groups
_INTRODUCTION = """\
<!-- Made by docs/_generate.py from the docstrings of grokpack's public names, and the topics and
examples of docs/_api_topics.py: edit those. -->

# Library

Everything that the command line does is a function here. These names stay; what is below them in
modules of their own may move. Each is imported when it is first used: `import grokpack` loads
neither numpy nor tensorstore. Errors are `GrokpackError`, with a [code](codes.md).

Examples go on from each other, from top to bottom.
"""


def api_page() -> str:
    """A heading for each topic with its example, and below it one for each public name.

    Raises:
        ValueError: A public name has no topic, or a topic names what there is not.
    """
    names = {name for name in dir(grokpack) if not name.startswith("_")}
    unlike = names ^ {name for topic in TOPICS for name in topic.names}
    if unlike:
        message = f"docs/_api_topics.py and the public names differ: {sorted(unlike)}"
        raise ValueError(message)
    lines = [_INTRODUCTION]
    for topic in TOPICS:
        lines += _topic(topic)
    return "\n".join(lines).rstrip() + "\n"


def _topic(topic: Topic) -> Iterator[str]:
    yield from (f"## {topic.title}", "", topic.text, "")
    yield from ("```python", topic.example, "```", "")
    for name in topic.names:
        yield from _entry(name, getattr(grokpack, name))


def _entry(name: str, what: object) -> Iterator[str]:
    keyword = "class " if inspect.isclass(what) else ""
    yield from (f"### {name}", "", "```{code-block} python")
    yield from (f"{keyword}{name}{_signature(what)}", "```", "")
    yield from _docstring(what)
    if inspect.isclass(what):
        yield from _members(what)


def _signature(what: Any) -> str:  # noqa: ANN401  # a class or a function
    """Arguments as they are written, one a line where they are many."""
    if dataclasses.is_dataclass(what):
        return _laid_out(map(_field, dataclasses.fields(what)), "")
    found = inspect.signature(what)
    arguments, starred = [], False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            arguments.append("*")
            starred = True
        given = parameter.default is not parameter.empty
        default = f" = {_value(parameter.default)}" if given else ""
        arguments.append(f"{parameter.name}: {parameter.annotation}{default}")
    back = "" if inspect.isclass(what) else f" -> {found.return_annotation}"
    return _laid_out(arguments, back)


def _field(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"{field.name}: {field.type} = {_value(field.default)}"
    if field.default_factory is not dataclasses.MISSING:
        return f"{field.name}: {field.type} = {field.default_factory.__name__}()"
    return f"{field.name}: {field.type}"


def _laid_out(arguments: Iterable[str], back: str) -> str:
    written = list(arguments)
    one = f"({', '.join(written)}){back}"
    if len(one) <= _LINE:
        return one
    return "(\n" + "".join(f"    {argument},\n" for argument in written) + f"){back}"


def _value(value: object) -> str:
    if isinstance(value, int) and value >= _GROUPED:
        return f"{value:_}"
    return getattr(value, "__name__", None) or repr(value)


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


def _members(what: type) -> Iterator[str]:
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
