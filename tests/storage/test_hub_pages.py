"""Addresses of the hub's web pages, which people copy from their browsers."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import survey
from grokpack.cli.source_path import default_out
from grokpack.core.errors import GrokpackError
from grokpack.storage.http import services
from grokpack.storage.urls import parse
from tests.support.checkpoints import GOLDEN
from tests.support.servers import Answer, Asked, impatient, serving

if TYPE_CHECKING:
    from pathlib import Path

SITE = "https://huggingface.co"
LISTING = "api/models/xai-org/grok-1/tree/main/"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("xai-org/grok-1", "hf://xai-org/grok-1"),
        ("xai-org/grok-1/", "hf://xai-org/grok-1"),
        ("xai-org/grok-1/tree", "hf://xai-org/grok-1"),
        ("xai-org/grok-1/tree/main", "hf://xai-org/grok-1@main"),
        ("xai-org/grok-1/tree/v1/ckpt-0", "hf://xai-org/grok-1@v1/ckpt-0"),
        ("xai-org/grok-1/blob/main/a%20b.gguf", "hf://xai-org/grok-1@main/a b.gguf"),
        ("xai-org/grok-1/resolve/main/x.gguf", "hf://xai-org/grok-1@main/x.gguf"),
        ("xai-org/grok-1/tree/refs%2Fpr%2F1", "hf://xai-org/grok-1@refs%2Fpr%2F1"),
        ("xai-org/grok-1/ckpt-0/tensor00000_000", "hf://xai-org/grok-1/ckpt-0/tensor00000_000"),
        ("datasets/xai-org/grok-1", f"{SITE}/datasets/xai-org/grok-1"),
        ("xai-org", f"{SITE}/xai-org"),
    ],
)
def test_a_page_is_the_repository_that_it_shows(address: str, url: str) -> None:
    assert str(parse(f"{SITE}/{address}")) == url
    assert str(parse(f"https://hf.co/{address}")) == url.replace("huggingface.co", "hf.co")


def test_a_revision_with_a_slash_is_asked_for_as_one_word() -> None:
    url = services.resource(f"{SITE}/xai-org/grok-1/tree/refs%2Fpr%2F1/x").url()
    assert url.endswith("/xai-org/grok-1/resolve/refs%2Fpr%2F1/x")


@pytest.mark.parametrize("path", ["tree/main/%2e%2e/x", "tree/main/a%0Ab", "tree/main/a%3Fb"])
def test_a_page_whose_path_is_none_is_refused(path: str) -> None:
    with pytest.raises(GrokpackError) as caught:
        parse(f"{SITE}/xai-org/grok-1/{path}")
    assert caught.value.code == "GP224"


@pytest.mark.parametrize("page", ["", "/tree/main", "/blob/main/ckpt-0"])
def test_a_page_is_read_like_its_repository(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "xai-org" / "grok-1" / "resolve" / "main"
    shutil.copytree(GOLDEN / "ckpt-0", folder / "ckpt-0")
    shutil.copy(GOLDEN / "config.json", folder)

    def tree(asked: Asked) -> Answer | None:
        if not f"{asked.path}/".startswith(LISTING):
            return None
        place = folder / f"{asked.path}/".removeprefix(LISTING)
        if not place.is_dir():
            return Answer(404, {})
        rows = [
            {
                "type": "directory" if path.is_dir() else "file",
                "path": path.relative_to(folder).as_posix(),
            }
            for path in place.iterdir()
        ]
        return Answer(200, {}, json.dumps(rows).encode())

    impatient(monkeypatch)
    with serving(tmp_path) as server:
        server.route = tree
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        services.forget()
        storage.forget(f"{SITE}/xai-org/grok-1")
        assert survey(f"{SITE}/xai-org/grok-1{page}").whole
    services.forget()


def test_an_output_is_called_after_the_repository() -> None:
    assert default_out(f"{SITE}/xai-org/grok-1/tree/main", "tp8").endswith("/grok-1-tp8")
