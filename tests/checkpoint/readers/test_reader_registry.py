"""The table of readers against the modules that are there."""

from __future__ import annotations

import pkgutil

from grokpack.checkpoint import readers
from grokpack.checkpoint.readers import reader_registry


def test_every_reader_is_in_the_table() -> None:
    names = {found.name for found in pkgutil.iter_modules(readers.__path__)}
    stores = {name for name in names if name.endswith("_reader")} - {"chunked_store_reader"}
    assert stores == set(reader_registry.READERS)


def test_each_tells_its_folders_and_surveys_them() -> None:
    for reader in reader_registry.readers():
        assert callable(reader.is_store)
        assert callable(reader.survey)
