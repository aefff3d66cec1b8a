"""Names on servers that list nothing: found by few requests, each of which is made once."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from grokpack import storage

if TYPE_CHECKING:
    from tests.support.servers import Server

FILES = ["x/c/0/0", "x/c/0/1", "x/zarr.json", "zarr.json"]


@pytest.fixture
def store(served: Server) -> str:
    """Folder with a manifest that names its files."""
    _index(served, FILES)
    return f"{served.url}/store"


def _index(served: Server, files: list[str]) -> None:
    for name in files:
        path = served.root / "store" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    manifest = served.root / "store" / "grokpack.json"
    manifest.write_text(json.dumps({"files": dict.fromkeys(files)}))


def test_a_folder_with_nothing_in_it_costs_few_requests(served: Server) -> None:
    assert storage.names(f"{served.url}/nothing") == []
    asked = [request.path for request in served.asked]
    assert len(asked) == len(set(asked)) <= 24
    storage.names(f"{served.url}/nothing")
    storage.tree(f"{served.url}/nothing")
    assert len(served.asked) == len(asked)


def test_an_index_answers_for_the_folders_below_it(store: str, served: Server) -> None:
    assert storage.tree(store) == ["grokpack.json", *FILES]
    served.forget()
    assert storage.names(f"{store}/x") == ["c", "zarr.json"]
    assert storage.names(f"{store}/x/c/0") == ["0", "1"]
    assert storage.tree(f"{store}/x") == ["c/0/0", "c/0/1", "zarr.json"]
    assert storage.is_folder(f"{store}/x/c")
    assert not storage.is_folder(f"{store}/x/c/0/1")
    assert not served.asked


def test_what_an_index_names_is_a_file_though_it_is_missing(store: str, served: Server) -> None:
    os.unlink(served.root / "store" / FILES[1])  # noqa: PTH108
    storage.names(store)
    served.forget()
    assert not storage.exists(f"{store}/{FILES[1]}")
    assert [request.path for request in served.asked] == [
        f"store/{FILES[1]}",
        f"store/{FILES[1]}.zst",
    ]


def test_folders_that_no_index_names_are_probed(store: str, served: Server) -> None:
    storage.names(store)
    (served.root / "store" / "other").mkdir()
    (served.root / "store" / "other" / "model.safetensors").write_bytes(b"")
    assert storage.names(f"{store}/other") == ["model.safetensors"]


def test_a_pickle_is_no_folder_to_probe(served: Server) -> None:
    for name in ("tensor00090_000", "tensor00090_000.zst"):
        assert not storage.is_folder(f"{served.url}/grok/ckpt-0/{name}")
    assert not served.asked


def test_what_an_index_gave_is_forgotten_with_a_folder_below_it(store: str, served: Server) -> None:
    storage.names(store)
    assert storage.names(f"{store}/x/c/0") == ["0", "1"]
    _index(served, [*FILES, "x/c/0/2"])
    storage.forget(f"{store}/grokpack.json")
    storage.forget(f"{store}/x")
    storage.names(store)
    assert storage.names(f"{store}/x/c/0") == ["0", "1", "2"]
