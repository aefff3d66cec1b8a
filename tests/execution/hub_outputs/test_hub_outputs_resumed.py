"""Outputs on the hub whose run was killed, broken off or interfered with: continued, or refused."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import survey
from grokpack.cli.app import app
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.storage.http import services
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.hub import hub_publisher
from grokpack.storage.hub.hub_client import HubClient
from grokpack.storage.hub.hub_sink import HubSink
from grokpack.storage.local_sink import LocalSink
from tests.support import forked
from tests.support.bucket_outputs import Killed, plan_of, refusal
from tests.support.checkpoints import tree
from tests.support.servers import Answer, Asked
from tests.support.writable_hub import TOKEN, Blob, WritableHub

if TYPE_CHECKING:
    from grokpack.planning.plan import Plan

OUT = "hf://me/grok"


def is_of_files(asked: Asked) -> bool:
    """Tell whether a request commits files of the layout: they come after the claim."""
    return "/commit/" in asked.path and b"plan.json" not in asked.body


def assert_as_local(hub: WritableHub, plan: Plan, tmp_path: Path) -> None:
    """See that the repository holds the bytes of a local run, and the folder here nothing."""
    execute(plan, str(tmp_path / "local"))
    assert hub.files("me/grok") == tree(tmp_path / "local")
    assert not list(Path.cwd().iterdir())


def assert_nothing_twice(hub: WritableHub) -> None:
    """See that no object, and no part of one, was sent twice."""
    sent = [asked.path for asked in hub.server.asked if asked.method == "PUT"]
    assert sent
    assert len(sent) == len(set(sent))


def kill_at(operation: str, where: str, nth: int) -> None:
    """Kill the run at the n-th such operation."""
    passed = 0

    def hook(happens: str, path: str) -> None:
        nonlocal passed
        passed += happens == operation and where in path
        if passed == nth and happens == operation and where in path:
            raise Killed

    storage.faults.hook = hook


@pytest.mark.parametrize(
    ("operation", "where", "nth"),
    [
        ("upload", "tensor", 2),
        ("commit", "plan.json", 1),
        ("commit", "tensor", 1),
        ("append", "published.jsonl", 2),
        ("remove", ".part", 1),
        ("remove", ".part", 3),
        ("commit", "grokpack.json", 1),
    ],
)
def test_a_run_that_was_killed_goes_on_and_sends_nothing_twice(
    operation: str,
    where: str,
    nth: int,
    hub: WritableHub,
    wide: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_publisher, "MOST_WAITING_BYTES", 100_000)
    plan = plan_of("ckpt-0", wide)
    kill_at(operation, where, nth)
    with pytest.raises(Killed):
        execute(plan, OUT, RunOptions(workers=1))
    storage.faults.hook = None
    assert "grokpack.json" not in hub.files("me/grok")
    if where != "plan.json":
        with pytest.raises(GrokpackError) as caught:
            survey(OUT)
        assert caught.value.code == "GP212"
    monkeypatch.chdir(tmp_path)  # the record knows the folder
    execute(plan_of("ckpt-0", wide), OUT)
    monkeypatch.chdir(tmp_path / "here")
    assert_as_local(hub, plan, tmp_path)
    assert_nothing_twice(hub)


def test_a_process_that_was_killed_is_continued(
    hub: WritableHub, wide: Path, tmp_path: Path
) -> None:
    command = ["reshard", str(wide), "--tp", "2", "-o", OUT]
    held = threading.Event()

    def hold(asked: Asked) -> None:
        if asked.method == "PUT":
            held.wait(60)

    hub.fault = hold
    process = subprocess.Popen(
        [*forked.COMMAND, *command], env={**os.environ, "PYTHONPATH": str(forked.ROOT)}
    )
    until = time.monotonic() + 60
    while not hub.counted("PUT", "lfs/") and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    held.set()
    assert hub.files("me/grok").keys() == {".grokpack/plan.json"}
    assert CliRunner().invoke(app, ["verify", OUT]).exit_code == 3
    plan = plan_of("safetensors", wide)
    execute(plan, OUT)
    assert_as_local(hub, plan, tmp_path)


def test_a_hub_that_is_busy_is_asked_again(hub: WritableHub, wide: Path, tmp_path: Path) -> None:
    seen: set[str] = set()

    def busy(asked: Asked) -> Answer | None:
        place = f"{asked.method} {asked.path} {asked.query}"
        if place in seen or "resolve" in place:
            return None
        seen.add(place)
        return Answer((429, 500, 503)[len(seen) % 3], {"Retry-After": "0"})

    hub.fault = busy
    execute(plan_of("gguf", wide), OUT)
    hub.fault = lambda _: None
    assert_as_local(hub, plan_of("gguf", wide), tmp_path)
    assert any("/commit/" in place for place in seen)
    assert any(place.startswith("PUT") for place in seen)


def test_answers_that_are_lost_are_no_commits_that_are(
    hub: WritableHub, wide: Path, tmp_path: Path
) -> None:
    lost: set[str] = set()

    def lose(asked: Asked, answer: Answer) -> None:
        place = f"{asked.method} {asked.path} {asked.body[:200]!r}"
        if asked.method == "POST" and answer.body and place not in lost:
            lost.add(place)
            answer.cut = 1

    hub.server.fault = lose
    execute(plan_of("hf", wide), OUT)
    hub.server.fault = None
    assert_as_local(hub, plan_of("hf", wide), tmp_path)
    messages = hub.repositories["me/grok"].messages
    assert len(messages) == len(set(messages))
    assert sum("/commit/" in place for place in lost) == len(messages) - 1


@pytest.mark.usefixtures("hub")
def test_a_client_that_another_failure_has_closed_is_asked_again() -> None:
    tried = []

    def send() -> None:
        tried.append(1)
        if len(tried) == 1:  # what httpx says where a thread has closed what all of them share
            message = "Cannot send a request, as the client has been closed."
            raise RuntimeError(message)

    run_request(lambda request: HubClient(OUT)._persist(request, send))
    assert len(tried) == 2


def test_a_hub_that_always_fails_is_left_with_what_to_do(
    hub: WritableHub, wide: Path, tmp_path: Path
) -> None:
    hub.fault = lambda asked: Answer(503, {}) if is_of_files(asked) else None
    plan = plan_of("hf", wide)
    error = refusal(plan, OUT)
    assert error.code == "GP221"
    assert "it continues" in str(error.hint)
    hub.fault = lambda _: None
    execute(plan, OUT)
    assert_nothing_twice(hub)
    assert_as_local(hub, plan, tmp_path)


def test_a_token_that_expires_is_not_shown(
    hub: WritableHub, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired = {"X-Error-Message": f"token {TOKEN} has expired"}
    hub.fault = lambda asked: Answer(401, expired) if is_of_files(asked) else None
    monkeypatch.setenv("GROKPACK_HTTP_RETRIES", "0")
    error = refusal(plan_of("hf", wide), OUT)
    assert error.code == "GP328"
    assert "settings/tokens" in str(error.hint)
    assert TOKEN not in str(error)
    hub.fault = lambda _: None
    execute(plan_of("hf", wide), OUT)
    assert_as_local(hub, plan_of("hf", wide), tmp_path)


def test_a_second_run_is_refused_wherever_it_is(
    hub: WritableHub, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("hf", wide)
    kill_at("upload", "model", 1)
    with pytest.raises(Killed):
        execute(plan, OUT)
    storage.faults.hook = None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    before = hub.files("me/grok")
    error = refusal(plan, OUT)
    assert error.code == "GP322"
    assert "hf repos delete me/grok" in str(error.hint)
    assert hub.files("me/grok") == before
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    execute(plan, OUT)
    assert_as_local(hub, plan, tmp_path)


def test_of_two_runs_that_begin_at_once_one_is_refused(hub: WritableHub, wide: Path) -> None:
    def first(asked: Asked) -> None:
        if "/commit/" in asked.path and len(hub.repositories["me/grok"].messages) == 1:
            claim = {".grokpack/plan.json": Blob(b'{"run": "another"}')}
            hub.repositories["me/grok"].add("main", claim, "claim it a moment before")

    hub.fault = first
    assert refusal(plan_of("hf", wide), OUT).code == "GP322"
    hub.fault = lambda _: None
    assert refusal(plan_of("hf", wide), OUT).code == "GP322"
    assert hub.files("me/grok").keys() == {".grokpack/plan.json"}


def test_a_file_that_somebody_removed_from_the_hub_is_made_again(
    hub: WritableHub, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_publisher, "MOST_WAITING_BYTES", 1)
    plan = plan_of("gguf", wide)
    kill_at("commit", "grokpack.json", 1)
    with pytest.raises(Killed):
        execute(plan, OUT)
    storage.faults.hook = None
    repository = hub.repositories["me/grok"]
    files = dict(repository.history["main"][-1][1])
    name = next(name for name in files if name.endswith(".gguf"))
    repository.add("main", {n: blob for n, blob in files.items() if n != name}, "remove one")
    execute(plan, OUT)
    assert_as_local(hub, plan, tmp_path)


def test_a_file_that_was_changed_here_is_not_published(
    hub: WritableHub, wide: Path, tmp_path: Path
) -> None:
    def spoil(happens: str, path: str) -> None:
        if happens == "commit" and "plan.json" not in path:
            raise Killed
        parts = sorted(Path("grok").glob("*.part"))
        if happens == "append" and path.endswith("done.jsonl") and parts:
            with parts[0].open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"\xff")

    storage.faults.hook = spoil
    plan = plan_of("hf", wide)
    assert refusal(plan, OUT).code == "GP329"
    storage.faults.hook = None
    assert hub.files("me/grok").keys() == {".grokpack/plan.json"}
    execute(plan, OUT)
    assert_as_local(hub, plan, tmp_path)


def test_files_stay_here_until_the_hub_lists_them(
    hub: WritableHub, wide: Path, tmp_path: Path
) -> None:
    commit = "0" * 40
    lie = {"commitUrl": f"{hub.server.url}/me/grok/commit/{commit}", "commitOid": commit}
    body = json.dumps(lie).encode()
    hub.fault = lambda asked: Answer(200, {}, body) if is_of_files(asked) else None
    plan = plan_of("hf", wide)
    error = refusal(plan, OUT)
    assert (error.code, error.what) == ("GP328", "the hub does not list what was sent")
    assert list(Path("grok").glob("*.part"))
    hub.fault = lambda _: None
    execute(plan, OUT)
    assert_as_local(hub, plan, tmp_path)


def test_a_full_disk_is_said_and_the_run_goes_on(
    hub: WritableHub, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("hf", wide)

    def full(happens: str, path: str) -> None:
        if happens == "write" and path.endswith(".part"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    storage.faults.hook = full
    assert refusal(plan, OUT).code == "GP401"
    storage.faults.hook = None
    with monkeypatch.context() as patch:
        patch.setattr(storage, "free_bytes", lambda _: 1000)
        error = refusal(plan, "hf://me/other")
    assert error.code == "GP311"
    assert "in a folder of another disk" in str(error.hint)
    execute(plan, OUT)
    assert_as_local(hub, plan, tmp_path)


def test_a_stop_ends_the_wait_for_the_hub(hub: WritableHub, wide: Path) -> None:
    held, limits = threading.Event(), RunOptions()

    def hold(asked: Asked) -> None:
        if asked.method == "PUT":
            limits.stop.set()
            held.wait(60)

    hub.fault = hold
    began = time.monotonic()
    with pytest.raises(GrokpackError) as caught:
        execute(plan_of("hf", wide), OUT, limits)
    assert caught.value.code == "GP403"
    assert time.monotonic() - began < 30
    held.set()


def test_restart_discards_what_an_unfinished_run_published(
    hub: WritableHub, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_publisher, "MOST_WAITING_BYTES", 1)
    kill_at("commit", "grokpack.json", 1)
    with pytest.raises(Killed):
        execute(plan_of("gguf", wide), OUT)
    storage.faults.hook = None
    second = plan_of("hf", wide)
    assert refusal(second, OUT).code == "GP321"
    services.forget()
    execute(second, OUT, RunOptions(restart=True))
    assert not any(name.endswith(".gguf") for name in hub.files("me/grok"))
    assert ".grokpack/plan.json" not in hub.files("me/grok")


@pytest.mark.parametrize(
    ("keep_local", "last"), [(False, (HubSink, "_remove_folders")), (True, (LocalSink, "conclude"))]
)
def test_a_run_that_ends_once_its_manifest_is_there_leaves_the_folder_as_asked(
    hub: WritableHub,
    wide: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep_local: bool,
    last: tuple[type, str],
) -> None:
    def end(*_: object) -> None:
        raise Killed

    plan, options = plan_of("ckpt-0", wide), RunOptions(keep_local=keep_local)
    with monkeypatch.context() as patch:
        patch.setattr(*last, end)
        with pytest.raises(Killed):
            execute(plan, OUT, options)
    assert Path("grok").exists()
    assert execute(plan, OUT, options).already_done
    assert Path("grok").exists() is keep_local
    assert tree(Path("grok")) == (hub.files("me/grok") if keep_local else {})
