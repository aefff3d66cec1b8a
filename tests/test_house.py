"""The rules of the house, held mechanically: sizes, names, who imports whom, who touches files."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import grokpack
from grokpack.core import errors
from grokpack.core.error_codes import CODES
from grokpack.core.errors import CaughtError, Place, revised
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = ROOT / "grokpack"
TEMPLATES = PACKAGE / "conversion" / "templates"

MAX_FILE_LINES = 400  # what can be read at one sitting
MAX_FUNCTION_LINES = 60  # the hard limit; 40 is the aim
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}

FINDINGS_ARE_CHOSEN_IN = "core.finding"
"""A finding is data, and its code says which kind; a handler of errors catches a class."""
KERNEL_LIBRARIES = {"llvmlite", "ml_dtypes", "numba", "numpy"}
# llvmlite is what numba writes code with, ml_dtypes numpy's bfloat16
EXECUTING_MODULES = {  # they run what a file says
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "pickle",
    "pickletools",
    "shelve",
    "torch",
}
OPENING_CALLS = {
    "NamedTemporaryFile",
    "TemporaryFile",
    "copy2",
    "copyfile",
    "copytree",
    "fdopen",
    "fromfile",
    "genfromtxt",
    "load",  # numpy's, which can even unpickle
    "load_file",
    "loadtxt",
    "memmap",
    "mkstemp",
    "open",
    "open_code",
    "open_memmap",
    "read_bytes",
    "read_text",
    "safe_open",
    "save",
    "save_file",
    "savez",
    "tofile",
    "truncate",
    "write_bytes",
    "write_text",
}
OPENING_MODULES = (
    "storage",
    "checkpoint.tensorstore",
    "formats.safetensors_library",  # a file of memory, which its parser judges
)
SPEAKING_CALLS = {"_exit", "breakpoint", "exit", "input", "print", "quit"}
SLOW_IMPORTS = {"numba", "numpy", "pickle", "rich", "tensorstore", "urllib3"}

INCOMPLETE = ("The same", "What", "Whether", "See")

# Folders that no version of the project contains, beside hidden ones and environments.
UNTRACKED = {"__pycache__", "build", "checkpoints", "demo", "dist"}
MAX_TRACKED_BYTES = 4 << 20  # ten times the largest; what is more is a checkpoint kept here
HIDDEN = {".ci", ".github"}  # the hidden folders that it may contain


@cache
def _modules() -> dict[str, ast.Module]:
    """Every module of the package by dotted name, `grokpack` left out: `formats.ckpt0`.

    Not those of `templates`, which are data: copied into outputs, imported by transformers there.
    """
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if TEMPLATES in path.parents:
            continue
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        trees[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return trees


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _imports(tree: ast.AST) -> Iterator[str]:
    """Full dotted names that a module imports, wherever in it: at the top, lazily, for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own_imports(tree: ast.AST) -> Iterator[str]:
    prefix = "grokpack"
    return (name.removeprefix(prefix) for name in _imports(tree) if name.startswith(prefix))


def _calls(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """Calls of a bare or dotted name in `names`, but for functions that are grokpack's own."""
    ours = _names_of_ours(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        owner = _root(called)
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
            ours = (alias for alias in node.names if _within(alias.name, ("grokpack",)))
            names.update(alias.asname or "grokpack" for alias in ours)
    return names


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _name_parts(module: str) -> set[str]:
    return {part for piece in module.split(".") for part in (piece, piece.strip("_"))}


def _files() -> Iterator[Path]:
    """Every file that belongs to the project, tracked or about to be."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if _belongs(Path(folder, name)))
        paths = (Path(folder, name) for name in sorted(names) if name != ".git")
        yield from (path for path in paths if path.stat().st_size <= MAX_TRACKED_BYTES)


def _belongs(folder: Path) -> bool:
    foreign = folder.name.startswith(".") and folder.name not in HIDDEN
    return not (foreign or folder.name in UNTRACKED or (folder / "pyvenv.cfg").exists())


def test_the_package_has_modules_to_check() -> None:
    assert {"core.errors", "core.layout", "storage", "formats.ckpt0"} <= set(_modules())


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_FILE_LINES}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{module}.{node.name}"
        for module, tree in _modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _function_lines(module, node) > MAX_FUNCTION_LINES
    ]
    assert not long


def _function_lines(module: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` on; from the body on for commands, whose signature is a table of options."""
    first = node.body[0] if _within(module, ("cli",)) else node
    return (node.end_lineno or first.lineno) - first.lineno + 1


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [module for module in _modules() if _name_parts(module) & VAGUE_NAMES]


def test_docstrings_begin_with_a_line_complete_in_itself() -> None:
    broken = [
        f"{module}: {text.splitlines()[0]}"
        for module, tree in _modules().items()
        for text in _docstrings(tree)
        if re.match(rf"({'|'.join(INCOMPLETE)})\b", text)
    ]
    assert not broken


def _docstrings(tree: ast.AST) -> Iterator[str]:
    """Texts that stand as statements: docstrings, and what is written below a constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                yield text


def test_imports_keep_the_contracts_between_packages() -> None:
    """The layers of `[tool.importlinter]` in pyproject.toml; imports for type hints count too."""
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_two_modules_have_the_same_name() -> None:
    """But for compiled kernels, each of which is named after the kernel that specifies it."""
    homes: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        module = str(path.relative_to(PACKAGE))
        if path.name != "__init__.py" and not module.startswith("kernels/compiled/"):
            homes.setdefault(path.name, []).append(module)
    assert not {name: modules for name, modules in homes.items() if len(modules) > 1}


def test_no_two_modules_define_a_public_class_of_the_same_name() -> None:
    homes: dict[str, list[str]] = {}
    for module, tree in _modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    assert not {name: modules for name, modules in homes.items() if len(modules) > 1}


def test_the_glossary_is_in_order_and_names_what_there_is() -> None:
    page = (ROOT / "docs/reference/glossary.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line[:2] == "| "][1:]
    words = [row[0] for row in rows]
    assert words == sorted(set(words), key=str.lower)
    classes = {
        node.name
        for tree in _modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    known = classes | {module.rpartition(".")[2] for module in _modules()}
    assert {row[2].strip("`") for row in rows} <= known


def test_kernels_import_numpy_and_numba_only() -> None:
    allowed = KERNEL_LIBRARIES | set(sys.stdlib_module_names) | {"grokpack"}
    broken = [
        f"{module} imports {imported}"
        for module, tree in _modules().items()
        if _within(module, ("kernels",))
        for imported in _imports(tree)
        if imported.split(".")[0] not in allowed
    ]
    assert not broken


def test_only_storage_opens_files() -> None:
    broken = [
        f"{module}: {call}"
        for module, tree in _modules().items()
        if not _within(module, OPENING_MODULES)
        for call in _calls(tree, OPENING_CALLS)
    ]
    assert not broken


def test_the_library_never_prints_prompts_or_exits() -> None:
    broken = [
        f"{module}: {call}"
        for module, tree in _modules().items()
        if not _within(module, ("cli", "__main__"))
        for call in _calls(tree, SPEAKING_CALLS)
    ]
    assert not broken


def test_nothing_imports_a_module_that_runs_what_a_file_says() -> None:
    broken = [
        f"{module} imports {imported}"
        for module, tree in _modules().items()
        for imported in _imports(tree)
        if imported.split(".")[0] in EXECUTING_MODULES
    ]
    assert not broken


def test_every_error_has_a_code_of_the_table() -> None:
    unknown = [
        f"{module}: {node.args[0].value!r}"
        for module, tree in _modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _root(node.func) == "GrokpackError"
        if node.args and isinstance(node.args[0], ast.Constant)
        if node.args[0].value not in CODES
    ]
    assert not unknown
    assert {kind.CODE for kind in _kinds_of_error()} <= set(CODES)


def _kinds_of_error() -> list[type[CaughtError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, CaughtError) and kind is not CaughtError
    ]


def test_an_error_that_has_a_class_is_raised_as_one() -> None:
    codes = {kind.CODE for kind in _kinds_of_error()}
    disguised = [  # which no handler of the class would catch
        f"{module}:{node.lineno}"
        for module, tree in _modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _root(node.func) == "GrokpackError"
        if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value in codes
    ]
    assert not disguised


def test_no_decision_hangs_on_a_code_or_on_the_sentence_of_an_error() -> None:
    compared = [
        f"{module}:{node.lineno}"
        for module, tree in _modules().items()
        if module != FINDINGS_ARE_CHOSEN_IN
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Attribute) and _is_text_of_an_error(side)
    ]
    assert not compared


def _is_text_of_an_error(read: ast.Attribute) -> bool:
    return read.attr == "code" or (read.attr == "what" and _root(read) in {"error", "cause"})


@pytest.mark.parametrize("kind", _kinds_of_error(), ids=lambda kind: kind.__name__)
def test_an_error_comes_whole_out_of_another_process(kind: type[CaughtError]) -> None:
    error = kind("it is so", Place("/w/file", 7), (("found", "this"),), "do that")
    again = pickle.loads(pickle.dumps(error))  # of this very process
    assert (type(again), again) == (kind, error)
    moved = revised(error, where=Place("/w/other"))
    assert (type(moved), moved.code, moved.what) == (kind, kind.CODE, "it is so")
    assert str(moved.where) == "/w/other"


def test_the_version_has_a_heading_in_the_changelog() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(f"## [{grokpack.__version__}]") for line in lines)


def test_every_ignored_rule_is_given_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    by_file = lint["per-file-ignores"].values()
    ignored = [*lint["ignore"], *(code for codes in by_file for code in codes)]
    reasoned = [line for line in text.splitlines() if line.strip().startswith('"') and "#" in line]
    bare = [code for code in ignored if not any(f'"{code}"' in line for line in reasoned)]
    assert not bare


def _loaded_after(program: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds when `program` has run."""
    ending = "\nimport json, sys\nsys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program + ending],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return {name.split(".")[0] for name in json.loads(run.stderr.splitlines()[-1])}


def test_importing_the_library_loads_nothing_slow() -> None:
    assert not _loaded_after("import grokpack") & SLOW_IMPORTS


def _command(*words: str) -> str:
    """Program that runs a command, which must succeed."""
    return f"""
import runpy, sys
sys.argv = {["grokpack", *words]!r}
try:
    runpy.run_module("grokpack", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    assert not stop.code, stop.code
"""


@pytest.mark.parametrize("command", ["", "inspect", "verify", "reshard", "synth"])
def test_help_loads_nothing_slow(command: str) -> None:
    words = [word for word in (command, "--help") if word]
    assert not _loaded_after(_command(*words)) & SLOW_IMPORTS


def test_a_command_on_a_folder_loads_nothing_of_the_network(tmp_path: Path) -> None:
    source = str(tmp_path / "source")
    made = _command("synth", source, "--preset", "tiny", "-q")
    looked = _command("inspect", source, "-q") + _command("verify", source, "-q")
    assert not _loaded_after(made + looked) & {"urllib3", "ssl", "boto3"}


def test_no_file_names_a_folder_of_the_machine_it_was_made_on() -> None:
    """Examples use relative folders or `/data`, so that what these find is a leak.

    The folder of the clone is not among them: it may be `/data` or `/grokpack`.
    """
    places = [f"/{name}/" for name in ("home", "root", "tmp", "work", "Users")]
    leaks = [
        f"{path.relative_to(ROOT)}: {place}"
        for path in _files()
        for place in places
        if place.encode() in path.read_bytes()
    ]
    assert not leaks


def test_the_search_for_such_folders_covers_every_part_of_the_project() -> None:
    found = {str(path.relative_to(ROOT)) for path in _files()}
    assert {"Makefile", ".ci/run", "docs/conf.py", "grokpack/core/error_codes/code.py"} <= found
    assert any(path.startswith("tests/data/") for path in found)
