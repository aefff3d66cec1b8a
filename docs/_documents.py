"""The page of the JSON documents, made from the types of documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.report import json_schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

_INTRODUCTION = """\
<!-- Made by docs/_generate.py from grokpack/core/documents: edit that. -->

# JSON

With `--json` a command prints one document on standard output, also when it fails;
`--report FILE.json` writes the same to a file. `grokpack explain --schema COMMAND` prints the JSON
Schema (draft 2020-12) that it keeps to.

What is listed here stays. New keys may be added at any time, so that a reader must pass over keys
that it does not know; if something is ever taken away, the number at the end of `schema` rises.
Paths are relative or absolute as they were given; sizes are exact bytes.

## The document
"""


CHAPTERS = ("Account", "Error", "Figures", "Finding", "Histogram", "Loss", "Piece", "Plan")
CHAPTERS += ("Statistics", "Tensor")
"""Types with a table of their own; those of others stand where they are used."""
DEFINITIONS: dict[str | None, Any] = {
    name.removesuffix("Json"): definition
    for command in json_schemas.names()
    for name, definition in json_schemas.schema(command)["$defs"].items()
}


def json_page() -> str:
    """All schemas as tables."""
    shared = json_schemas.schema("convert")["anyOf"][0]
    del shared["properties"]["schema"]["const"]  # it is that of one command, as are the words
    shared["properties"]["status"] = {"type": "string", "description": "The answer in a word"}
    shared["properties"]["data"] = {"type": "object", "description": "The answer"}
    lines = [_INTRODUCTION, *_table(shared), ""]
    lines += [
        "Where a command fails, `status` is `error`, `data` is empty and `errors` says why. A",
        "command line that could not be understood gives `grokpack/usage/1`.",
        "",
    ]
    for command in json_schemas.ANSWERS:
        lines += _command(command, json_schemas.schema(command)["anyOf"][0]["properties"])
    for name in CHAPTERS:
        described = f"{DEFINITIONS[name]['description']}."
        lines += [f"## {name.lower()}", "", described, "", *_table(DEFINITIONS[name]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _command(name: str, answer: dict[str, Any]) -> Iterator[str]:
    status = answer["status"]
    words = ", ".join(f"`{word}`" for word in [*_choices(status), "error"])
    yield from (f"## {name}: `data`", "", f"`status` is one of {words}.", "")
    data = answer["data"]
    if _named(data) in CHAPTERS:
        yield from (f"`data` is {_kind(data)}.", "")
    else:
        yield from (*_table(_whole(data)), "")


def _table(schema: dict[str, Any]) -> Iterator[str]:
    yield from ("| key | is | meaning |", "|---|---|---|")
    yield from _rows(schema, "")


def _rows(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, value in schema["properties"].items():
        items = _bare(value).get("items")
        always = "" if name in required else ", not always there"
        meaning = _whole(value).get("description", "").replace("|", "\\|")
        yield f"| `{prefix}{name}` | {_kind(value)}{always} | {meaning} |"
        if _named(items or value) not in CHAPTERS and "properties" in _whole(items or value):
            yield from _rows(_whole(items or value), f"{prefix}{name}{'[]' if items else ''}.")


def _bare(value: dict[str, Any]) -> dict[str, Any]:
    """Return what a value is where it is not null."""
    given = [one for one in value.get("anyOf", ()) if one != {"type": "null"}]
    return given[0] if len(given) == 1 else value


def _named(value: dict[str, Any]) -> str | None:
    """Return the name of the type that a value refers to."""
    name = _bare(value).get("$ref")
    return name and name.removeprefix("#/$defs/").removesuffix("Json")


def _whole(value: dict[str, Any]) -> dict[str, Any]:
    """Return a value with what it refers to."""
    return DEFINITIONS.get(_named(value), {}) | value


def _choices(value: dict[str, Any]) -> list[str]:
    return [value["const"]] if "const" in value else value.get("enum", [])


def _kind(value: dict[str, Any]) -> str:
    """The type of a value, in words."""
    name = _named(value)
    if name in CHAPTERS and "$ref" in value:
        return f"a [{name.lower()}](#{name.lower()})"
    if _choices(value):
        return " or ".join(f"`{word}`" for word in _choices(value))
    if "anyOf" in value:
        return " or ".join(_kind(choice) for choice in value["anyOf"])
    if value.get("type") == "array":
        return f"list of {_kind(value['items']).removeprefix('a ')}"
    return str(value.get("type", "object"))
