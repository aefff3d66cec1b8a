"""The documentation says what the program does: pages made from tables, and numbers in prose."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from grokpack.core.exit_status import ExitStatus
from grokpack.formats.pickle import header_limits
from grokpack.formats.pickle.stack_values import ALLOWED
from grokpack.models.grok1 import GROK1
from tests.support.project import ROOT

if TYPE_CHECKING:
    from types import ModuleType

DOCS, PACKAGE = ROOT / "docs", ROOT / "grokpack"


def _rows(page: str) -> list[list[str]]:
    """Cells of every table row of a page, without backticks and thousands separators."""
    text = (DOCS / page).read_text(encoding="utf-8").replace("`", "")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _numbers(row: list[str]) -> list[int]:
    plain = (cell.replace(",", "") for cell in row)
    return [int(cell) for cell in plain if cell.isdigit()]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "_generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date() -> None:
    assert not _generator().stale(), "run `make docs`"


def test_every_module_that_a_page_names_is_there() -> None:
    """Paths begin at the root of the project; on the design's page, at the package."""
    text = {page: page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")}
    named = [
        (page.name, PACKAGE if page.name == "design.md" else ROOT, path)
        for page in text
        for path in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", text[page])
        if path.startswith("grokpack/") or page.name == "design.md"
    ]
    assert len(named) > 20
    assert [(page, path) for page, folder, path in named if not (folder / path).exists()] == []


def test_every_code_falls_into_a_group_of_the_page() -> None:
    from grokpack.core.error_codes import CODES

    page = _generator().codes_page()
    assert [code for code in CODES if f"### {code}\n" not in page] == []


def test_every_code_that_the_program_names_is_in_the_table() -> None:
    from grokpack.core.error_codes import CODES

    sources = [p for p in (ROOT / "grokpack").rglob("*.py") if p.parent.name != "codes"]
    named = {c for p in sources for c in re.findall(r'"(GP\d{3})"', p.read_text(encoding="utf-8"))}
    assert named - set(CODES) == set()


def test_the_page_of_exit_statuses_has_all_of_them_and_no_other() -> None:
    stated = [int(row[0]) for row in _rows("reference/exit-codes.md") if row[0].isdigit()]
    assert stated == sorted(status.value for status in ExitStatus)


@pytest.mark.parametrize("name", [n for n in vars(header_limits) if n.startswith("MAX_")])
def test_the_page_on_safety_states_every_limit(name: str) -> None:
    stated = [number for row in _rows("explanation/safety.md") for number in _numbers(row)]
    assert getattr(header_limits, name) in stated


def test_the_page_on_safety_lists_the_names_that_the_reader_knows() -> None:
    stated = {
        (module, name)
        for row in _rows("explanation/safety.md")
        if len(row) == 3
        for module in row[0].split(", ")
        for name in row[1].split(", ")
    }
    assert set(ALLOWED) <= stated
    assert {pair for pair in stated if pair[0].startswith(("numpy", "ml_", "__"))} <= set(ALLOWED)


def test_the_page_on_formats_lists_the_keys_of_a_config_in_the_order_they_are_tried() -> None:
    rows = [row for row in _rows("reference/formats.md") if len(row) == 3]
    stated = [tuple(dict.fromkeys([row[1], *row[2].split(", ")])) for row in rows]
    assert [keys for keys in GROK1.dimensions.values() if keys not in stated] == []


def test_the_page_on_formats_has_every_name_of_every_convention() -> None:
    rows = {row[0]: row[1:] for row in _rows("reference/formats.md") if len(row) == 5}
    conventions = [GROK1.conventions[name] for name in ("hpcai", "sglang", "keyfan")]
    for rule in GROK1.rules:
        theirs = [c.table[rule.part].replace("{expert}", "E") for c in conventions]
        assert GROK1.gguf is not None
        assert rows[rule.path] == [*theirs, GROK1.gguf.tensors[rule.part]], rule.path
    layer = [c.layer.replace("{layer}", "N").replace("{rest}", "") for c in conventions]
    assert rows["transformer/decoder_layer_N/"] == [*layer, "blk.N."]


def test_the_byte_map_has_the_sizes_and_offsets_of_the_release() -> None:
    table = json.loads((ROOT / "tests/data/grok1_tensors.json").read_text(encoding="utf-8"))
    rows = [tuple(_numbers(row)) for row in _rows("explanation/ckpt-0.md")]
    sizes = Counter(entry["file_bytes"] for entry in table)
    assert {(count, size) for size, count in sizes.items()} <= {row[:2] for row in rows}
    fields = ("weight_offset", "weight_bytes", "scales_offset", "scales_bytes", "tail_bytes")
    maps = {tuple(entry[field] for field in fields if entry[field]) for entry in table}
    assert maps <= set(rows)


def test_the_header_shown_in_full_is_the_one_that_is_written() -> None:
    from grokpack.core.tensors import ArraySpec, DType
    from grokpack.formats import pickle

    page = (DOCS / "explanation/ckpt-0.md").read_text(encoding="utf-8")
    shown = page.split("a line for each step:")[1].split("```")[1]
    lines = [_dump(line) for line in shown.splitlines()[1:]]
    head, tail = b"".join(lines).split(b"\xff" * 32)
    router = pickle.frame(ArraySpec((6144, 8), DType.F32), None)
    assert (head, tail) == router.literals


def _dump(line: str) -> bytes:
    """Bytes of a line of the dump: hex pairs and quoted text, up to the first plain word."""
    if line == "…":
        return b"\xff" * 32  # stands for the payload
    found = b""
    for word in line.split():
        if word.startswith("'") and word.endswith("'"):
            found += word.strip("'").encode()
        elif len(word) == 2 and all(c in "0123456789abcdef" for c in word):
            found += bytes.fromhex(word)
        else:
            break
    return found
