"""The table of readers against the modules that are there."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest

from grokpack.checkpoint import open_checkpoint, readers
from grokpack.checkpoint.readers import reader_registry
from grokpack.checkpoint.readers.reader_row import Reader
from grokpack.core.errors import GrokpackError
from tests.support.project import ROOT


def test_every_reader_is_in_the_table() -> None:
    names = {found.name for found in pkgutil.iter_modules(readers.__path__)}
    stores = {name for name in names if name.endswith("_reader")} - {"chunked_store_reader"}
    assert stores == set(reader_registry.READERS.values())


@pytest.mark.parametrize("name", reader_registry.READERS)
def test_each_reader_goes_by_the_name_that_the_table_has(name: str) -> None:
    reader = reader_registry.reader(name)
    assert isinstance(reader, Reader)
    assert reader.name == name


def test_a_refusal_lists_every_reader(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no checkpoint")
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint.survey(str(tmp_path))
    assert caught.value.code == "GP203"
    assert caught.value.hint == (
        "expected views, `tensorNNNNN_000` files, `rank-NNN-of-NNN` folders, safetensors, GGUF, "
        "Orbax or zarr"
    )


def test_the_page_on_formats_has_a_row_for_each_reader() -> None:
    page = (ROOT / "docs/reference/formats.md").read_text()
    rows = [f"| `{reader.name}` | {reader.title} |" for reader in reader_registry.readers()]
    assert "\n".join(rows) in page
