"""What programs rely on beside outputs: options of commands, public names, schemas."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import fields, is_dataclass
from typing import Any

import typer
from typer.testing import CliRunner

import grokpack
from grokpack.cli.app import app

_SCHEMAS = (
    *("convert", "diff", "evaluate", "generate", "inspect", "manifest", "quantize", "reshard"),
    *("synth", "usage", "verify", "grokpack.json"),
)


def interface() -> dict[str, dict[str, Any]]:
    """Options by command, signatures by public name, digests by schema."""
    return {
        "options": {f"grokpack {name}": options for name, options in _options().items()},
        "names": {f"grokpack.{name}": _signature(name) for name in _public_names()},
        "schemas": {f"schema of {name}": {"digest": _schema(name)} for name in _SCHEMAS},
    }


def _options() -> dict[str, Any]:
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    return {
        name: {"/".join(p.opts + p.secondary_opts): _option(p) for p in command.params}
        for name, command in sorted(commands.items())
    }


def _option(parameter: Any) -> str:
    default = parameter.default
    parts = {
        "default": json.dumps(default) if isinstance(default, bool | int | float | str) else "",
        "environment": str(parameter.envvar or ""),
        "required": "yes" if parameter.required else "",
        "repeated": "yes" if getattr(parameter, "multiple", False) or parameter.nargs != 1 else "",
        "flag": "yes" if getattr(parameter, "is_flag", False) else "",
    }
    return ", ".join(f"{key} {value}" for key, value in parts.items() if value)


def _public_names() -> list[str]:
    return sorted({*dir(grokpack), *grokpack.__all__} - {"__version__"})


def _signature(name: str) -> dict[str, str]:
    """Parameters of a function, or of a class and of each of its public methods."""
    thing = getattr(grokpack, name)
    if not inspect.isclass(thing):
        return {"": _parameters(thing)}
    members = {key: member for key, member in vars(thing).items() if not key.startswith("_")}
    found = {key: _parameters(m) if callable(m) else "" for key, m in members.items()}
    if is_dataclass(thing):
        found |= {field.name: "" for field in fields(thing)}
    return {"": _parameters(thing), **dict(sorted(found.items()))}


def _parameters(thing: Any) -> str:
    """Parameters with plain defaults; annotations are left out, whose names are no promise."""
    shown = []
    for parameter in inspect.signature(thing).parameters.values():
        default = parameter.default
        if default is not parameter.empty and not isinstance(default, bool | int | float | str):
            default = None
        shown.append(str(parameter.replace(annotation=parameter.empty, default=default)))
    return f"({', '.join(shown)})"


def _schema(name: str) -> str:
    """A digest of a schema without what it explains in words."""
    text = CliRunner().invoke(app, ["explain", "--schema", name]).stdout
    plain = json.dumps(_without_words(json.loads(text)), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def _without_words(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_words(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_words(inner)
        for key, inner in value.items()
        if key not in ("description", "title") or not isinstance(inner, str)
    }
