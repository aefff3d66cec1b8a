"""The map of the source: a line for each package and module, by layer, made from docstrings."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT / "grokpack"
_INTRODUCTION = """\
<!-- Made by docs/_generate.py from docstrings and the layers of pyproject.toml: edit those. -->

# Map of the source

A line for each package and module of `grokpack/`, from the highest layer to the lowest. A package
imports from layers below its own only, and not from another of the same layer. The
[design](../explanation/design.md) says how they work together, the [glossary](glossary.md) what
their words mean.
"""


def map_page() -> str:
    """Return the page with every package and module."""
    lines = [_INTRODUCTION]
    layers = _layers()
    for height, packages in zip(range(len(layers), 0, -1), layers, strict=True):
        lines += [f"## Layer {height}: {', '.join(packages)}", ""]
        for package in packages:
            lines += _package(_PACKAGE / package)
    lines += ["## Outside the layers", ""]
    lines += _modules(_PACKAGE)
    return "\n".join(lines).rstrip() + "\n"


def _layers() -> list[list[str]]:
    """Return the packages of each layer, the highest layer first."""
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    rows = next(c["layers"] for c in contracts if c.get("containers") == ["grokpack"])
    return [[name.strip() for name in row.split("|")] for row in rows]


def _package(folder: Path) -> Iterator[str]:
    """Yield the heading of a package, its modules, and the packages within it."""
    yield from (f"### `{folder.relative_to(_PACKAGE)}/`", "")
    if (folder / "__init__.py").exists():
        yield from (_summary(folder / "__init__.py"), "")
    yield from _modules(folder)
    for inner in sorted(folder.iterdir()):
        if any(inner.glob("*.py")):
            yield from _package(inner)


def _modules(folder: Path) -> Iterator[str]:
    rows = [
        f"| `{path.stem}` | {_summary(path)} |"
        for path in sorted(folder.glob("*.py"))
        if path.name != "__init__.py" or folder == _PACKAGE
    ]
    if rows:
        yield from ("| module | |", "|---|---|", *rows, "")


def _summary(path: Path) -> str:
    """Return the first line of a module's docstring, as a cell of a table."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].replace("|", "\\|")
