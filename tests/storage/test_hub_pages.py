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
        ("xai-org/grok-1/tree/refs/pr/1/x", "hf://xai-org/grok-1@refs%2Fpr%2F1/x"),
        ("xai-org/grok-1/raw/main/config.json", "hf://xai-org/grok-1@main/config.json"),
        ("xai-org/grok-1/resolve/main/x?download=true", "hf://xai-org/grok-1@main/x"),
        ("xai-org/grok-1/tree/main#files", "hf://xai-org/grok-1@main"),
        ("xai-org/grok-1/commit/0a1b2c", "hf://xai-org/grok-1@0a1b2c"),
        ("xai-org/grok-1.git", "hf://xai-org/grok-1"),
        ("xai-org/grok-2.5", "hf://xai-org/grok-2.5"),
        ("api/models/xai-org/grok-1/tree/main", "hf://xai-org/grok-1@main"),
        ("datasets/xai-org/grok-1", f"{SITE}/datasets/xai-org/grok-1"),
        ("xai-org", f"{SITE}/xai-org"),
    ],
)
def test_a_page_is_the_repository_that_it_shows(address: str, url: str) -> None:
    assert str(parse(f"{SITE}/{address}")) == url
    assert str(parse(f"https://hf.co/{address}")) == url.replace("huggingface.co", "hf.co")


@pytest.mark.parametrize("site", ["HuggingFace.co", "huggingface.co:443", "www.huggingface.co"])
def test_the_site_has_several_names(site: str) -> None:
    assert str(parse(f"https://{site}/xai-org/grok-1/tree/main")) == "hf://xai-org/grok-1@main"


@pytest.mark.parametrize("mirror", ["https://mirror.example", "http://mirror.example:8080/hf/"])
def test_a_page_of_the_mirror_in_use_is_its_repository(
    mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = f"{mirror.rstrip('/')}/xai-org/grok-1/resolve/main/x"
    assert str(parse(page)) == page
    monkeypatch.setenv("HF_ENDPOINT", mirror)
    assert str(parse(page)) == "hf://xai-org/grok-1@main/x"
    assert str(parse("https://elsewhere.example/xai-org/grok-1")).startswith("https://")


def test_a_pull_request_is_a_revision() -> None:
    assert parse("hf://xai-org/grok-1@refs/pr/1/x").path == "grok-1@refs%2Fpr%2F1/x"


@pytest.mark.parametrize("kind", ["datasets", "spaces"])
def test_what_holds_no_models_is_refused(kind: str) -> None:
    with pytest.raises(GrokpackError, match="no owner of models"):
        parse(f"hf://{kind}/xai-org/grok-1")


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
