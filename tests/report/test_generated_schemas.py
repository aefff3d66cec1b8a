"""Schemas made from types accept and refuse what those did that had been written by hand.

So a key that documents did not have then can only be one that is not required: documents that
were stored before keep to the schema of today.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from grokpack.report import json_schemas
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

BY_HAND: dict[str, Any] = json.loads((ROOT / "tests/data/schemas_by_hand.json").read_text("utf-8"))
STRINGS: dict[str | None, str] = {
    "^GP[1-9][0-9]{2}$": "GP101",
    "^[0-9a-f]{64}$": "0" * 64,
    "^([0-9a-f]{32})*$": "f" * 64,
}
OTHERS: tuple[Any, ...] = (
    None,
    True,
    "text",
    "error",
    -1,
    0,
    1,
    1.5,
    [],
    [None],
    {},
    {"key": None},
)
BOUND = ("status", "exit_code", "errors", "data")
"""Keys of an answer of which each says what another may hold."""
REASON = {"$ref": "#/$defs/error"}, {"$ref": "#/$defs/ErrorJson"}


def sample(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """A value that a schema accepts, with every key that it knows."""
    if "$ref" in schema:
        return sample(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    if "enum" in schema or "const" in schema:
        return schema.get("const") or schema["enum"][0]
    if "oneOf" in schema and "type" not in schema:
        return sample(schema["oneOf"][-1], definitions)
    kind = schema.get("type", "object")
    plain = {
        "boolean": True,
        "integer": 1,
        "number": 0.5,
        "string": STRINGS.get(schema.get("pattern"), "text"),
    }
    kind = kind if isinstance(kind, str) else kind[0]
    if kind == "array":
        return [sample(schema["items"], definitions)] * schema.get("minItems", 1)
    return plain[kind] if kind in plain else _object(schema, definitions)


def _object(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for part in schema.get("allOf", ()):
        whole |= sample(part, definitions)
    more = schema.get("additionalProperties", {"type": "integer"})
    known = schema.get("properties") or dict.fromkeys(schema.get("required", ["key"]), more)
    hidden = ("tiles_zstd", "decoded")  # `tiles` stands in its place, and files need no end
    return whole | {k: sample(v, definitions) for k, v in known.items() if k not in hidden}


def documents(name: str) -> list[dict[str, Any]]:
    """Documents that the schema by hand accepts: a failure and an answer, or a file."""
    schema = BY_HAND[name]
    whole = sample(schema, schema["$defs"])
    if "else" not in schema:
        packed = {"bytes": 1, "tiles_zstd": "text", "decoded": whole["files"]["key"]}
        return [whole, whole | {"files": {"key": packed}}]
    failure = whole | {"status": "error", "data": {}}
    if name == "usage":
        return [failure]
    data = sample(schema["else"]["properties"]["data"], schema["$defs"])
    return [failure, whole | {"data": data, "errors": []}]


def parts(old: Any, new: Any, value: Any, roots: tuple[Any, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield a value and each of its parts, with what both schemas say of it."""
    yield old, new, value
    members = value.items() if isinstance(value, dict) else ()
    for key, part in enumerate(value[:1]) if isinstance(value, list) else members:
        yield from parts(_of(key, old, roots[0]), _of(key, new, roots[1]), part, roots)


def _of(key: str | int, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Find what a schema says of a key or an item, in an answer; nothing refuses nothing."""
    if "$ref" in schema:
        return _of(key, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    choices = [schema["else"]] if key == "data" and "else" in schema else []
    choices += [one for name in ("anyOf", "oneOf", "allOf") for one in schema.get(name, ())]
    own = schema.get("properties", {}).get(key)
    more = schema.get("items" if isinstance(key, int) else "additionalProperties")
    found = [*(_of(key, choice, root) for choice in choices), own, more]
    return next((one for one in found if isinstance(one, dict) and one), {})


def mutants(value: Any) -> Iterator[Any]:
    """Yield other values, and this one with a member less or more."""
    yield from OTHERS
    if isinstance(value, dict):
        yield value | {"unknown": []}
        yield from ({k: v for k, v in value.items() if k != key} for key in value)
    elif isinstance(value, list):
        yield value * 2


def cases(name: str) -> Iterator[tuple[Any, Any, list[Any]]]:
    """Yield both schemas of each part of a document, with the part as it is and changed."""
    roots = old, new = BY_HAND[name], json_schemas.schema(name)
    for document in documents(name):
        found = [(old, new, document)]
        if "else" not in old:
            found = [*parts(old, new, document, roots)]
        for key in ("tool", "findings", "data") if document.get("data") else ():
            found += parts(_of(key, old, old), _of(key, new, new), document[key], roots)
        for error in document.get("errors", ()):
            found += parts(REASON[0], REASON[1], error, roots)
        yield from ((one, other, [part, *mutants(part)]) for one, other, part in found)
        yield old, new, [document | {key: mutant} for key in BOUND for mutant in OTHERS]


@pytest.mark.parametrize("name", BY_HAND)
def test_a_schema_decides_as_the_one_written_by_hand(name: str) -> None:
    old, new = Draft202012Validator(BY_HAND[name]), Draft202012Validator(json_schemas.schema(name))
    assert all(map(old.is_valid, documents(name)))
    for by_hand, made, values in cases(name):
        one, other = old.evolve(schema=by_hand), new.evolve(schema=made)
        assert not [value for value in values if one.is_valid(value) != other.is_valid(value)]


@pytest.mark.parametrize("command", ["reshard", "synth"])
def test_commands_that_run_a_plan_have_one_schema(command: str) -> None:
    own, convert = (json.dumps(json_schemas.schema(name)) for name in (command, "convert"))
    assert own == convert.replace("convert", command)
