"""The page of the JSON documents, made from the schemas that are shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokpack.report import json_schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

_INTRODUCTION = """\
<!-- Made by docs/_generate.py from grokpack/report/schemas: edit that. -->

# JSON

With `--json` a command prints one document on standard output, also when it fails;
`--report FILE.json` writes the same to a file. `grokpack explain --schema COMMAND` prints the JSON
Schema (draft 2020-12) that it keeps to.

What is listed here stays. New keys may be added at any time, so that a reader must pass over keys
that it does not know; if something is ever taken away, the number at the end of `schema` rises.
Paths are relative or absolute as they were given; sizes are exact bytes.

## The document
"""


DEFINITIONS: dict[str, Any] = {
    name: definition
    for command in json_schemas.names()
    for name, definition in json_schemas.schema(command)["$defs"].items()
}


def json_page() -> str:
    """All schemas as tables."""
    shared = json_schemas.schema("usage")
    del shared["properties"]["schema"]["const"]  # it is that of one command, as are the words
    shared["properties"]["status"] = {"type": "string", "description": "The answer in a word"}
    lines = [_INTRODUCTION, *_table(shared), ""]
    lines += [
        "Where `status` is `error`, `data` is empty and `errors` says why. A command line that",
        "could not be understood gives `grokpack/usage/1`.",
        "",
    ]
    for command in json_schemas.names():
        if command != "usage":
            lines += _command(command, json_schemas.schema(command))
    for name, definition in sorted(DEFINITIONS.items()):
        if "properties" in definition:
            lines += [
                f"## {name}",
                "",
                f"{definition['description']}.",
                "",
                *_table(definition),
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


def _command(name: str, whole: dict[str, Any]) -> Iterator[str]:
    words = ", ".join(f"`{word}`" for word in whole["properties"]["status"]["enum"])
    yield from (f"## {name}: `data`", "", f"`status` is one of {words}.", "")
    data = whole["else"]["properties"]["data"]
    if "$ref" in data:
        yield from (f"`data` is {_kind(data)}.", "")
    else:
        yield from (*_table(data), "")


def _table(schema: dict[str, Any]) -> Iterator[str]:
    yield from ("| key | is | meaning |", "|---|---|---|")
    yield from _rows(schema, "")


def _rows(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, given in schema["properties"].items():
        value = _simple(given)
        always = "" if name in required else ", not always there"
        meaning = value.get("description", "").replace("|", "\\|")
        kind = f"`{value['const']}`" if "const" in value else _kind(value)
        yield f"| `{prefix}{name}` | {kind}{always} | {meaning} |"
        below = value.get("items", value)
        if "properties" in below:
            yield from _rows(below, f"{prefix}{name}{'[]' if 'items' in value else ''}.")


def _simple(value: dict[str, Any]) -> dict[str, Any]:
    """A value, or what it refers to where that has no heading of its own."""
    named = DEFINITIONS.get(value.get("$ref", "").removeprefix("#/$defs/"), {})
    return named if named and "properties" not in named else value


def _kind(value: dict[str, Any]) -> str:
    """The type of a value, in words."""
    if "$ref" in value:
        name = value["$ref"].removeprefix("#/$defs/")
        return f"a [{name}](#{name})"
    if "enum" in value:
        return " or ".join(f"`{word}`" for word in value["enum"])
    if "oneOf" in value:
        return " or ".join(_kind(choice) for choice in value["oneOf"])
    if value.get("type") == "array":
        return f"list of {_kind(value['items']).removeprefix('a ')}"
    kind = value.get("type", "string")
    return " or ".join(kind) if isinstance(kind, list) else kind
