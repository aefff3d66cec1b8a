"""Source of the package, as the tests of its rules read it: modules, imports, calls, docstrings."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING

from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = ROOT / "grokpack"
MODEL_CODE = PACKAGE / "conversion" / "model_code"


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by dotted name, `grokpack` left out: `formats.ckpt0`.

    Not those of `model_code`, which are data: copied into outputs, imported by transformers there.
    """
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if MODEL_CODE in path.parents:
            continue
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        trees[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return trees


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def imports(tree: ast.AST) -> Iterator[str]:
    """Full dotted names that a module imports, wherever in it: at the top, lazily, for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """Calls of a bare or dotted name in `names`, but for functions that are grokpack's own."""
    ours = _names_of_ours(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        owner = root(called)
        name = called.attr if isinstance(called, ast.Attribute) else owner
        if name in names and owner not in ours and not _is_harmless(node):
            yield f"{name}() in line {node.lineno}"


def _is_harmless(call: ast.Call) -> bool:
    """`os.open(os.devnull)` opens no file; `print(..., file=stream)` writes where it is told.

    `builder.load()` is an instruction of LLVM.
    """
    if ast.unparse(call.func) == "builder.load":
        return True
    arguments = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "file")]
    given = {node.attr for node in arguments if isinstance(node, ast.Attribute)}
    written = any(k.arg == "file" for k in call.keywords) and not given & {"stdout", "stderr"}
    return written or "devnull" in given


def _names_of_ours(tree: ast.AST) -> set[str]:
    """Names that a module binds to something of grokpack: by import or by definition."""
    top = tree.body if isinstance(tree, ast.Module) else []
    names = {node.name for node in top if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "grokpack":
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            ours = (alias for alias in node.names if within(alias.name, ("grokpack",)))
            names.update(alias.asname or "grokpack" for alias in ours)
    return names


def root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Texts that stand as statements: docstrings, and what is written below a constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                yield text
