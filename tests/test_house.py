"""Rules that the source keeps: sizes, names, who imports whom, who touches files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.project import ROOT
from tests.support.source_code import PACKAGE, calls, docstrings, imports, modules, within

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILE_LINES = 400  # what can be read at one sitting
MAX_FUNCTION_LINES = 60  # the hard limit; 40 is the aim
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}

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
INCOMPLETE = ("The same", "What", "Whether", "See")


def _name_parts(module: str) -> set[str]:
    return {part for piece in module.split(".") for part in (piece, piece.strip("_"))}


def test_the_package_has_modules_to_check() -> None:
    assert {"core.errors", "core.layout", "storage", "formats.ckpt0"} <= set(modules())


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in (PACKAGE, ROOT / "tests")
        for path in folder.rglob("*.py")
    }
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_FILE_LINES}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{module}.{node.name}"
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _function_lines(module, node) > MAX_FUNCTION_LINES
    ]
    assert not long


def _function_lines(module: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` on; from the body on for commands, whose signature is a table of options."""
    first = node.body[0] if within(module, ("cli",)) else node
    return (node.end_lineno or first.lineno) - first.lineno + 1


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [module for module in modules() if _name_parts(module) & VAGUE_NAMES]


def test_docstrings_begin_with_a_line_complete_in_itself() -> None:
    broken = [
        f"{module}: {text.splitlines()[0]}"
        for module, tree in modules().items()
        for text in docstrings(tree)
        if re.match(rf"({'|'.join(INCOMPLETE)})\b", text)
    ]
    assert not broken


def test_quantize_is_spelled_in_one_way() -> None:
    """But in the card of quantized weights, which is in the digests of runs that are unfinished."""
    card = PACKAGE / "conversion" / "writers" / "quantized_folder.py"
    texts = [*PACKAGE.rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    other = re.compile("quantis", re.IGNORECASE)
    assert [path for path in texts if other.search(path.read_text(encoding="utf-8"))] == [card]


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
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    assert not {name: modules for name, modules in homes.items() if len(modules) > 1}


def test_no_two_modules_define_a_public_type_of_the_same_name() -> None:
    """A class or an alias; options, JSON and the arrays of compiled kernels are named apart."""
    homes: dict[str, set[str]] = {}
    for module, tree in modules().items():
        if re.match(r"(?:cli|core\.documents|kernels\.compiled)(?:\.|$)", module) is None:
            for name in filter(re.compile(r"[A-Z]\w+[a-z]").fullmatch, _types(tree)):
                homes.setdefault(name, set()).add(module)
    assert not {name: found for name, found in homes.items() if len(found) > 1}


def _types(tree: ast.Module) -> Iterator[str]:
    """Names of classes and of what is assigned, without those of functions' own variables."""
    guarded = (row for node in tree.body if isinstance(node, ast.If) for row in node.body)
    for node in (*tree.body, *guarded):
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (one.id for one in node.targets if isinstance(one, ast.Name))


def test_the_glossary_is_in_order_and_names_what_there_is() -> None:
    page = (ROOT / "docs/reference/glossary.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line[:2] == "| "][1:]
    words = [row[0] for row in rows]
    assert words == sorted(set(words), key=str.lower)
    classes = {
        node.name
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    known = classes | {module.rpartition(".")[2] for module in modules()}
    assert {row[2].strip("`") for row in rows} <= known


def test_kernels_import_numpy_and_numba_only() -> None:
    allowed = KERNEL_LIBRARIES | set(sys.stdlib_module_names) | {"grokpack"}
    broken = [
        f"{module} imports {imported}"
        for module, tree in modules().items()
        if within(module, ("kernels",))
        for imported in imports(tree)
        if imported.split(".")[0] not in allowed
    ]
    assert not broken


def test_only_storage_opens_files() -> None:
    broken = [
        f"{module}: {call}"
        for module, tree in modules().items()
        if not within(module, OPENING_MODULES)
        for call in calls(tree, OPENING_CALLS)
    ]
    assert not broken


def test_the_library_never_prints_prompts_or_exits() -> None:
    broken = [
        f"{module}: {call}"
        for module, tree in modules().items()
        if not within(module, ("cli", "__main__"))
        for call in calls(tree, SPEAKING_CALLS)
    ]
    assert not broken


def test_nothing_imports_a_module_that_runs_what_a_file_says() -> None:
    broken = [
        f"{module} imports {imported}"
        for module, tree in modules().items()
        for imported in imports(tree)
        if imported.split(".")[0] in EXECUTING_MODULES
    ]
    assert not broken
