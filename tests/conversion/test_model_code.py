"""The modelling code of Hugging Face folders, without torch; `make oracle-hf` runs it."""

from __future__ import annotations

import ast
from importlib.resources import files

import pytest

HF = files("grokpack") / "conversion" / "model_code"
FILES = ("configuration_grok1.py", "modeling_grok1.py")
OLDEST_PYTHON = (3, 9)  # that transformers 4.57 runs on


@pytest.mark.parametrize("file", FILES)
def test_modelling_code_is_shipped_and_old_pythons_can_read_it(file: str) -> None:
    text = (HF / file).read_text(encoding="utf-8")
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    ast.parse(text, feature_version=OLDEST_PYTHON)


@pytest.mark.parametrize("file", FILES)
def test_modelling_code_needs_nothing_but_torch_and_transformers(file: str) -> None:
    tree = ast.parse((HF / file).read_text(encoding="utf-8"))
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    known = {"configuration_grok1", "dataclasses", "torch", "transformers"}
    assert {str(name).split(".")[0] for name in imported} <= known


def test_no_buffer_is_kept_that_loading_without_memory_would_lose() -> None:
    assert "register_buffer" not in (HF / "modeling_grok1.py").read_text(encoding="utf-8")
