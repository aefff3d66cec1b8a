"""Outputs in buckets whose run was killed or broken off: continued, or left with a reason."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.storage.http import retry_policy
from tests.support import forked

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.buckets import Moto

from tests.support.bucket_outputs import (
    BUCKET,
    Killed,
    assert_as_local,
    begun,
    empty,
    objects,
    plan_of,
    refusal,
)


@pytest.mark.parametrize(
    ("kind", "size", "operation", "after"),
    [
        ("safetensors", "wide", "create", 1),
        ("safetensors", "large", "publish", 1),
        ("archive", "wide", "upload", 5),
        ("archive", "wide", "write_whole", 1),
    ],
)
def test_a_run_that_was_killed_goes_on_and_sends_nothing_twice(
    kind: str,
    size: str,
    operation: str,
    after: int,
    moto: Moto,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    source: Path = request.getfixturevalue(size)
    out, plan, passed = f"s3://{BUCKET}/out", plan_of(kind, source), Counter[str]()

    def hook(happens: str, path: str) -> None:
        if happens == operation and path.startswith("s3://"):
            passed[happens] += 1
            if passed[happens] > after:
                raise Killed

    storage.faults.hook = hook
    with pytest.raises(Killed):
        execute(plan, out, RunOptions(workers=1))
    storage.faults.hook = None
    assert "grokpack.json" not in objects(moto)
    if operation in {"create", "upload"}:
        assert not objects(moto)
    sent = moto.asked.count("PUT partNumber")
    execute(plan_of(kind, source), out)
    assert_as_local(moto, plan, tmp_path)
    if operation in ("publish", "write_whole"):
        assert moto.asked.count("PUT partNumber") == sent
    assert not begun(moto)


def test_a_process_that_was_killed_is_continued(moto: Moto, large: Path, tmp_path: Path) -> None:
    out = f"s3://{BUCKET}/out"
    command = ["reshard", str(large), "--tp", "2", "-o", out]
    process = subprocess.Popen([*forked.COMMAND, *command, "--workers", "1"], env=dict(os.environ))
    moto.fault = lambda what, _: time.sleep(0.3) if what == "PUT partNumber" else None
    until = time.monotonic() + 60
    while moto.asked.count("PUT partNumber") < 6 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    moto.fault = lambda *_: None
    assert not objects(moto)
    assert begun(moto)
    assert forked.run(*command).returncode == 0
    assert_as_local(moto, plan_of("safetensors", large), tmp_path)


def test_a_server_that_is_busy_is_asked_again(
    moto: Moto, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "_FIRST_DELAY_S", 0)
    count = Counter[str]()

    def fault(what: str, _: dict[str, Any]) -> tuple[str, bytes] | None:
        count[what] += 1
        return (
            ("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>") if count[what] % 3 else None
        )

    moto.fault = fault
    plan = plan_of("hf", wide)
    execute(plan, f"s3://{BUCKET}/out", RunOptions(workers=1))
    moto.fault = lambda *_: None
    assert_as_local(moto, plan, tmp_path)


def test_connections_that_break_off_are_made_again(
    moto: Moto, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "_FIRST_DELAY_S", 0)
    plan, broken = plan_of("hf", wide), set[tuple[str, str]]()

    def fault(what: str, environ: dict[str, Any]) -> None:
        place = (what, f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}")
        if place not in broken:  # each request once
            broken.add(place)
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

    moto.fault = fault
    execute(plan, f"s3://{BUCKET}/out")
    assert {what for what, _ in broken} >= {"POST uploads", "PUT partNumber", "POST uploadId"}
    moto.fault = lambda *_: None
    assert_as_local(moto, plan, tmp_path)


def test_a_bucket_that_always_breaks_off_is_left_with_what_to_do(
    moto: Moto, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "_FIRST_DELAY_S", 0)
    plan = plan_of("hf", wide)

    def fault(what: str, environ: dict[str, Any]) -> None:
        if what == "POST uploadId":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

    moto.fault = fault
    error = refusal(plan, f"s3://{BUCKET}/out")
    assert error.code == "GP221"
    assert "run the same command again" in (error.hint or "")
    sent = moto.asked.count("PUT partNumber")
    moto.fault = lambda *_: None
    execute(plan, f"s3://{BUCKET}/out")
    assert moto.asked.count("PUT partNumber") == sent
    assert_as_local(moto, plan, tmp_path)


@pytest.mark.parametrize("state", ["busy", "silent"])
@pytest.mark.parametrize("step", ["PUT partNumber", "POST uploadId"])
def test_a_stop_ends_the_wait_for_a_bucket(
    state: str, step: str, moto: Moto, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "_FIRST_DELAY_S", 10_000.0)
    monkeypatch.setattr(retry_policy, "_LONGEST_DELAY_S", 10_000.0)
    limits, over = RunOptions(workers=1), threading.Event()

    def fault(what: str, _: dict[str, Any]) -> tuple[str, bytes] | None:
        if what != step:
            return None
        limits.stop.set()
        if state == "silent":
            over.wait()
        return "503 Slow Down", b"<Error><Code>SlowDown</Code></Error>"

    moto.fault = fault
    plan = plan_of("hf", wide)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, f"s3://{BUCKET}/out", limits)
    assert caught.value.code == "GP403"
    over.set()
    moto.fault = lambda *_: None
    execute(plan, f"s3://{BUCKET}/out")
    assert_as_local(moto, plan, tmp_path)


def test_an_upload_whose_completion_was_not_heard_of_is_complete(
    moto: Moto, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "_FIRST_DELAY_S", 0)
    heard = Counter[str]()

    def fault(what: str, environ: dict[str, Any]) -> tuple[str, bytes] | None:
        if what != "POST uploadId":
            return None
        heard[environ["PATH_INFO"]] += 1
        if heard[environ["PATH_INFO"]] > 1:  # moto would complete it again, others do not
            return "404 Not Found", b"<Error><Code>NoSuchUpload</Code></Error>"
        list(moto.inner(environ, lambda *_: None))
        environ["CONTENT_LENGTH"] = "0"  # it was read
        return "500 Lost", b""

    moto.fault = fault
    plan = plan_of("hf", wide)
    execute(plan, f"s3://{BUCKET}/out")
    assert set(heard.values()) == {2}
    assert_as_local(moto, plan, tmp_path)


def test_an_upload_that_vanished_is_begun_anew(moto: Moto, large: Path, tmp_path: Path) -> None:
    out, plan = f"s3://{BUCKET}/out", plan_of("safetensors", large)
    gone = ("404 Not Found", b"<Error><Code>NoSuchUpload</Code></Error>")  # moto itself says 500
    guard = threading.Lock()  # files are published many at a time

    def hook(happens: str, path: str) -> None:
        if happens == "publish" and path.startswith("s3://"):
            moto.fault = lambda what, _: gone if what == "POST uploadId" else None
            with guard:
                empty(moto)

    storage.faults.hook = hook
    assert refusal(plan, out).code == "GP328"
    storage.faults.hook, moto.fault = None, lambda *_: None
    execute(plan, out)
    assert_as_local(moto, plan, tmp_path)
