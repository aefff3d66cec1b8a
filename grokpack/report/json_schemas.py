"""JSON Schemas of each command's document, put together from the files in `schemas/`.

`envelope.json` is what all documents share, `COMMAND.json` describes `status` and `data`, and
`definitions.json` has what several of them use. Schemas allow unknown keys everywhere, so that
additions break no reader.
"""

from __future__ import annotations

import difflib
import os
from typing import Any

from grokpack import storage
from grokpack.core.errors import GrokpackError

_FILES = os.path.join(os.path.dirname(__file__), "file_schemas")
_FOLDER = os.path.join(os.path.dirname(__file__), "schemas")
_SHARED = ("definitions", "envelope")
_REFERENCE = "#/$defs/"


def names() -> list[str]:
    """List the schemas: commands, and `usage` for a command line without one."""
    stems = (os.path.splitext(name)[0] for name in storage.names(_FOLDER))
    return [stem for stem in stems if stem not in _SHARED]


def files() -> list[str]:
    """List the files that there are schemas for."""
    return list(storage.names(_FILES))


def schema(command: str) -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a command's document or of a file, self-contained.

    Raises:
        GrokpackError: GP304 where no command of that name prints JSON.
    """
    if command in files():
        own_file: dict[str, Any] = storage.read_json(os.path.join(_FILES, command))
        return own_file
    if command not in names():
        near = difflib.get_close_matches(command, names(), 1, 0.5)
        meant = f"did you mean `{near[0]}`? " if near else ""
        hint = f"{meant}there are {', '.join([*names(), *files()])}"
        raise GrokpackError("GP304", f"there is no schema `{command}`", hint=hint)
    own, document = _read(command), _read("envelope")
    document["$id"] = f"urn:grokpack:schema:{command}:1"
    document["title"] = f"grokpack/{command}/1"
    document["properties"]["schema"]["const"] = document["title"]
    document["properties"]["status"] = own["status"]
    document["else"]["properties"]["data"] = own["data"]
    document["$defs"] = _named_in(document, _read("definitions"))
    return document


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = storage.read_json(os.path.join(_FOLDER, f"{name}.json"))
    return document


def _named_in(document: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Collect the definitions that a document refers to, directly or indirectly."""
    wanted = list(_references(document))
    found: dict[str, Any] = {}
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = definitions[name]
            wanted += _references(found[name])
    return {name: found[name] for name in definitions if name in found}


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = node.get("$ref")
        below = [name for value in node.values() for name in _references(value)]
        return below + ([own.removeprefix(_REFERENCE)] if isinstance(own, str) else [])
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []
