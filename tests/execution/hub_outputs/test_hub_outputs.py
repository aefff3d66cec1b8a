"""Outputs on the hub: the bytes of a local run, whole or marked as unfinished."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.cli.app import app
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.core.events import Event, Sending
from grokpack.execution.preflight import preflight
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.execution.workers.worker_pool import AHEAD
from grokpack.report.text import plan_text
from grokpack.report.text.shown_paths import shown_path
from grokpack.storage.http import services
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.hub import hub_publisher
from grokpack.storage.hub.hub_client import HubClient
from grokpack.verification.verify_structure import verify_structure
from tests.support import grok2
from tests.support.bucket_outputs import plan_of, refusal
from tests.support.checkpoints import tree
from tests.support.writable_hub import Blob, WritableHub

if TYPE_CHECKING:
    from tests.support.servers import Asked

OUT = "hf://me/grok"
PAGES = 1 << 17
"""More than what a file system takes for the ends of some files."""


@pytest.mark.parametrize("kind", ["hf", "safetensors", "ckpt-0", "archive", "gguf", "quantize"])
def test_a_repository_has_the_files_of_a_local_run(
    kind: str, hub: WritableHub, wide: Path, tmp_path: Path
) -> None:
    plan = plan_of(kind, wide)
    execute(plan, OUT)
    execute(plan, str(tmp_path / "local"))
    assert hub.files("me/grok") == tree(tmp_path / "local")
    assert not list(Path.cwd().iterdir())
    assert execute(plan, OUT).already_done
    if kind != "gguf":
        assert verify_structure(survey(OUT)).whole


def test_large_files_go_in_parts_and_small_ones_together(hub: WritableHub, wide: Path) -> None:
    plan = plan_of("ckpt-0", wide)
    execute(plan, OUT)
    files = list(plan.target.layout.files())
    assert hub.counted("POST", "commit/main") < len(files) / 2
    assert any(a.path.startswith("lfs/") and a.path.count("/") == 2 for a in hub.server.asked)
    *_, last = hub.repositories["me/grok"].messages
    assert last == "Add grokpack.json, written by grokpack"


def test_a_repository_that_is_not_there_is_told_from_one_without_weights(hub: WritableHub) -> None:
    assert hub.server.url
    with pytest.raises(GrokpackError, match="no checkpoint at this URL") as nothing:
        survey("hf://me/grok-3")
    assert "a private one needs HF_TOKEN" in (nothing.value.hint or "")


def test_a_long_upload_says_how_far_it_is(
    hub: WritableHub, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub does not answer uploads until it was told here that bytes are out."""
    told = threading.Event()
    heard: list[Sending] = []

    def listen(event: Event) -> None:
        if isinstance(event, Sending):
            heard.append(event)
            if event.sent_bytes:
                told.set()

    def answer_late(asked: Asked) -> None:
        if asked.path.startswith("lfs/"):
            assert told.wait(60)

    monkeypatch.setattr(hub, "fault", answer_late)
    execute(plan_of("safetensors", wide), OUT, listen=listen)
    assert any(0 < event.sent_bytes <= event.nbytes for event in heard)


@pytest.mark.usefixtures("hub")
def test_files_that_went_before_are_not_counted_among_those_that_wait(tmp_path: Path) -> None:
    """A progress line said `198 MB of 130 MB are out` while the next files were checked."""
    client, file = HubClient(OUT), tmp_path / "first.safetensors"
    client.create(private=False)
    file.write_bytes(bytes(PAGES))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    run_request(lambda request: client.upload(request, {file.name: str(file)}, {file.name: digest}))
    assert client.sent_bytes([file.name]) == PAGES
    assert client.sent_bytes(["second.safetensors"]) == 0


def test_a_hub_without_xet_gets_files_over_lfs_even_where_xet_was_asked_for(
    hub: WritableHub, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    execute(plan_of("safetensors", wide), OUT)
    assert hub.counted("GET", "xet-write-token") == 1
    assert hub.counted("PUT", "lfs/")


def test_a_disk_holds_no_more_than_what_waits_and_what_is_begun(
    hub: WritableHub, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tied = ConvertOptions(type="f32", tokenizer="none", shard_bytes=60_000)
    plan = plan_convert(open_checkpoint(str(wide)), "gguf", tied)
    largest = max(file.nbytes for file in plan.target.layout.files())
    monkeypatch.setattr(hub_publisher, "MOST_WAITING_BYTES", 1)
    monkeypatch.setattr("grokpack.planning.tasks.TASK_BYTES", 1)
    most = 0

    def look(_: object) -> None:
        nonlocal most
        parts = Path("grok").rglob("*.part")
        with contextlib.suppress(FileNotFoundError):  # one that leaves
            most = max(most, sum(storage.allocated_bytes(str(path)) for path in parts))

    execute(plan, OUT, RunOptions(workers=1), look)
    begun = 1 + AHEAD  # the file that waits, and those of the tasks that are handed out
    assert 0 < most < begun * largest + PAGES < plan.target.layout.nbytes
    assert hub.counted("POST", "commit/main") > 5


def test_card_and_licence_follow_the_weights_and_the_manifest_is_last(hub: WritableHub) -> None:
    execute(plan_convert(open_checkpoint(str(grok2.RELEASE)), "hf"), OUT)
    steps = [set(files) for _, files in hub.repositories["me/grok"].history["main"]]
    *_, weights, small, whole = steps
    assert any(name.endswith(".safetensors") for name in weights)
    assert {"README.md", "LICENSE", "config.json"} <= small - weights
    assert whole - small == {"grokpack.json"}
    assert small - whole == {".grokpack/plan.json"}


def test_files_stay_where_that_is_asked_for(
    hub: WritableHub, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_publisher, "MOST_WAITING_BYTES", 1)  # what is first is sent alone
    slow = {"PUT": 0.2}
    hub.fault = lambda asked: time.sleep(slow.pop(asked.method, 0.0))
    plan = plan_of("gguf", wide)
    execute(plan, OUT, RunOptions(keep_local=True))
    assert hub.files("me/grok") == tree(Path("grok"))
    assert execute(plan, "grok").already_done


def test_another_branch_and_a_private_repository(hub: WritableHub, wide: Path) -> None:
    plan = plan_of("hf", wide)
    assert refusal(plan, f"{OUT}@new").code == "GP328"
    execute(plan, OUT, RunOptions(private=True))
    made = hub.repositories["me/grok"]
    assert made.private
    made.add("new", {}, "begin a branch")
    execute(plan, f"{OUT}@new")
    assert hub.files("me/grok", "new") == hub.files("me/grok")
    hub.create("me/public")
    refused = refusal(plan, "hf://me/public", private=True)
    assert (refused.code, refused.what) == ("GP328", "the repository is public")


def test_what_the_hub_refuses_is_said_before_anything_is_made(
    hub: WritableHub, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("hf", wide)
    error = refusal(plan, "hf://they/grok")
    assert error.code == "GP328"
    assert "may not write for they" in str(error.hint)
    monkeypatch.delenv("HF_TOKEN")
    services.forget()
    assert "hf auth login" in str(refusal(plan, OUT).hint)
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    services.forget()
    error = refusal(plan, OUT)
    assert "not valid" in str(error.hint)
    assert "hf_expired" not in str(error)
    assert not hub.repositories
    assert not list(Path.cwd().iterdir())


def test_other_files_are_left_alone_unless_asked(hub: WritableHub, wide: Path) -> None:
    hub.create("me/theirs").add("main", {"README.md": Blob(b"theirs")}, "their own")
    first, second = plan_of("hf", wide), plan_of("ckpt-0", wide)
    assert refusal(first, "hf://me/theirs").code == "GP323"
    execute(first, OUT)
    assert refusal(second, OUT).code == "GP321"
    execute(second, OUT, RunOptions(restart=True))
    names = {file.path for file in second.target.layout.files()}
    assert hub.files("me/grok").keys() == {*names, *second.target.finals, "grokpack.json"}
    Path("new").mkdir()
    Path("new/mine").touch()
    refused = refusal(first, "hf://me/new")
    assert (refused.code, refused.facts) == ("GP323", (("found", str(Path("new/mine").resolve())),))


def test_the_library_is_an_extra(
    hub: WritableHub, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("huggingface_hub", "huggingface_hub.utils"):
        monkeypatch.setitem(sys.modules, module, None)
    error = refusal(plan_of("hf", wide), OUT)
    assert error.code == "GP307"
    assert "grokpack[hub]" in str(error.hint)
    assert not hub.server.asked


def test_a_url_without_its_slashes_is_no_folder(wide: Path) -> None:
    told = CliRunner().invoke(app, ["reshard", str(wide), "--tp", "2", "-o", "hf:me/grok"])
    assert told.exit_code == 2
    assert "did you mean `hf://me/grok`?" in told.stderr


@pytest.mark.parametrize(
    ("out", "kind", "code"),
    [
        (f"{OUT}/below", "hf", "GP326"),
        ("hf://grok", "hf", "GP224"),
        ("hf://me/gr--ok", "hf", "GP224"),
    ],
)
def test_places_that_are_no_repository(
    out: str, kind: str, code: str, hub: WritableHub, wide: Path
) -> None:
    assert refusal(plan_of(kind, wide), out).code == code
    assert not hub.repositories


def test_one_file_and_other_processes_are_refused(hub: WritableHub, wide: Path) -> None:
    checkpoint = open_checkpoint(str(wide))
    single = plan_convert(checkpoint, "gguf", ConvertOptions(tokenizer="none", type="q8_0"))
    assert "--split" in str(refusal(single, OUT).hint)
    with ThreadPoolExecutor(1) as workers, pytest.raises(GrokpackError) as caught:
        execute(plan_of("hf", wide), OUT, executor=workers)
    assert caught.value.code == "GP304"
    assert not hub.repositories


def test_choices_of_the_hub_are_for_the_hub(wide: Path, tmp_path: Path) -> None:
    error = refusal(plan_of("hf", wide), str(tmp_path / "out"), private=True)
    assert error.code == "GP304"
    assert "--private" in error.what


def test_a_plan_says_how_much_disk_it_takes_and_creates_nothing(
    hub: WritableHub, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_publisher, "MOST_WAITING_BYTES", 1000)
    monkeypatch.setattr("grokpack.execution.preflight.TASK_BYTES", 100)
    plan, limits = plan_of("gguf", wide), RunOptions(workers=1)
    judged = preflight(plan, OUT, limits)
    largest = max(file.nbytes for file in plan.target.layout.files())
    assert judged.disk_bytes == 1000 + largest + AHEAD * 100
    data = plan_text.document(judged, OUT, limits, None)
    assert data["made_in"] == str(Path("grok").resolve())
    assert f"free at {shown_path(data['made_in'])}" in plan_text.render(data, OUT)
    kept = preflight(plan, OUT, RunOptions(workers=1, keep_local=True))
    assert kept.disk_bytes == plan.disk_bytes
    assert not hub.repositories
