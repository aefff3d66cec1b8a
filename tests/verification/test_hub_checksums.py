"""`verify --against` what the hub, or a download from it, says of the files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grokpack.storage.http import services
from tests.support import grok2, hub_listings, servers
from tests.support.content_checks import flip
from tests.support.servers import impatient
from tests.support.tls import certificate
from tests.support.verify_against import codes, verified

REPO = "hf:xai-org/grok-1"


@pytest.fixture
def served(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_listings.Hub]:
    with hub_listings.serving(made) as found:
        impatient(monkeypatch)
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


@pytest.mark.parametrize("revision", ["", "@main", "@v1", f"@{hub_listings.COMMIT}"])
def test_the_hub_says_that_files_are_whole(
    model: Path, served: hub_listings.Hub, revision: str
) -> None:
    found = verified(model, REPO + revision)
    assert (found["status"], found["exit_code"], codes(found)) == ("whole", 0, [])
    assert len([a for a in served.asked if "/tree/" in a]) == -(
        -len(served.files) // hub_listings.PAGE
    )
    assert all(hub_listings.COMMIT in a for a in served.asked if "/tree/" in a)  # one state of it


@pytest.mark.parametrize("offline", [False, True])
def test_what_is_not_as_published_is_found(
    model: Path, served: hub_listings.Hub, offline: bool
) -> None:
    """A large file by its sha256, a small one by git's hash, one of another size unread."""
    if offline:
        hub_listings.metadata(model, served.files)
        served.failing = [503] * 99
    files = sorted((model / "ckpt-0").iterdir())
    large = next(p for p in files if p.stat().st_size > 2 * hub_listings.SMALL_BYTES)
    small = next(p for p in files if p.stat().st_size < hub_listings.SMALL_BYTES)
    flip(large, large.stat().st_size // 2)
    flip(small, small.stat().st_size - 20)
    found = verified(model, "hf:" if offline else REPO)
    assert found["exit_code"] == 1
    bad = {row["file"]: row["expected"] for row in found["findings"] if row["code"] == "GP110"}
    assert set(bad) == {large.name, small.name}
    assert bad[large.name].startswith("sha256 ")
    assert bad[small.name].startswith("git ")
    if not offline:
        row = next(r for r in served.files if r["path"].endswith(large.name))
        row["size"] += 1
        again = verified(model, REPO)
        sizes = [r for r in again["findings"] if r["code"] == "GP112"]
        assert [r["file"] for r in sizes] == [large.name]


def test_a_file_that_only_the_hub_has_is_missing(model: Path, served: hub_listings.Hub) -> None:
    extra = {**served.files[-1], "path": "ckpt-0/tensor00099_000"}
    served.files.append(extra)
    found = verified(model, REPO)
    assert ("GP101", "ckpt-0/tensor00099_000") in [
        (row["code"], row["file"]) for row in found["findings"]
    ]


@pytest.mark.parametrize(
    ("against", "spoil", "code"),
    [
        ("hf:xai-org/grok-2", {}, "GP230"),
        ("hf:xai-org/grok-1@v9", {}, "GP230"),
        ("hf:grok-1", {}, "GP346"),
        ("hf:xai-org/", {}, "GP346"),
        (REPO, {"gated": True}, "GP222"),
        (REPO, {"files": [{"type": "file", "path": "x", "size": 1}]}, "GP209"),
        (REPO, {"files": [7]}, "GP209"),
        ("hf:", {}, "GP230"),
        (REPO, {"files": []}, "GP230"),
    ],
)
def test_what_the_hub_does_not_say(
    model: Path, served: hub_listings.Hub, against: str, spoil: dict[str, Any], code: str
) -> None:
    for name, value in spoil.items():
        setattr(served, name, value)
    found = verified(model, against)
    assert found["errors"][0]["code"] == code
    assert found["exit_code"] in (2, 3)


def test_a_hub_that_is_busy_is_asked_again(model: Path, served: hub_listings.Hub) -> None:
    served.failing = [503, 429]
    assert verified(model, REPO)["status"] == "whole"


def test_a_hub_that_cannot_be_reached(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = verified(model, REPO)
    assert (found["errors"][0]["code"], found["exit_code"]) == ("GP221", 75)


def test_a_hub_that_is_not_trusted_is_told_at_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    _, context = certificate(tmp_path)
    with servers.serving(tmp_path, context) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        found = verified(model, REPO)
    assert (found["errors"][0]["code"], found["exit_code"]) == ("GP243", 3)
    assert not server.asked


def test_a_token_goes_to_the_hub_alone(
    model: Path, served: hub_listings.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "right")
    served.gated = True
    assert verified(model, REPO)["status"] == "whole"
    with servers.serving(tmp_path) as elsewhere:
        place = f"{elsewhere.url}/elsewhere"
        with servers.serving(tmp_path) as moved:
            moved.route = lambda _: servers.Answer(302, {"Location": place})
            monkeypatch.setenv("HF_ENDPOINT", moved.url)
            services.forget()
            verified(model, REPO)
        assert [a.headers.get("authorization") for a in moved.asked] == ["Bearer right"]
        assert [a.headers.get("authorization") for a in elsewhere.asked] == [None]


def test_metadata_that_is_none_is_refused(model: Path, served: hub_listings.Hub) -> None:
    hub_listings.metadata(model, served.files)
    place = model / ".cache" / "huggingface" / "download" / "ckpt-0" / "tensor00000_000.metadata"
    for text in (
        "",
        "one line\n",
        f"{hub_listings.COMMIT}\n{'z' * 64}\n",
        f"{hub_listings.COMMIT}\nabc\n",
    ):
        place.write_text(text, encoding="utf-8")
        assert verified(model, "hf:")["errors"][0]["code"] == "GP230"


def test_a_release_cut_for_ranks_is_compared_with_its_own_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rank's file in place of another's, which headers do not tell, among them."""
    folder = Path(shutil.copytree(grok2.RELEASE, tmp_path / "release"))
    with hub_listings.serving(grok2.RELEASE, "xai-org/grok-2") as served:
        impatient(monkeypatch)
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        services.forget()
        assert verified(folder, "hf:xai-org/grok-2")["status"] == "whole"
        one, other = (folder / f"pytorch_model-00006-TP-00{rank}.safetensors" for rank in (1, 2))
        shutil.copy(one, other)
        (folder / "tokenizer.tok.json").write_text("{}")
        found = verified(folder, "hf:xai-org/grok-2")
        bad = {row["file"] for row in found["findings"] if row["severity"] == "error"}
        assert bad == {other.name, "tokenizer.tok.json"}
        refused = verified(folder, "hf:grok-2")
    (error,) = refused["errors"]
    assert "hf:xai-org/grok-2" in error["hint"]
