"""Outputs in buckets: the bytes of a local run, continued where it was killed, whole or absent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions as Choices
from grokpack.conversion.plan_quantize import plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import plan_synth
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.models.architecture import Geometry
from grokpack.storage import bucket_sink, sink
from grokpack.storage.http import range_requests
from grokpack.verification.verify_structure import verify_structure
from tests.support import forked
from tests.support.buckets import Moto, client, running
from tests.support.checkpoints import synthesise, tree
from tests.support.converting import WIDE
from tests.support.executors import processes, stop_after
from tests.support.servers import Crowd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from grokpack.planning.plan import Plan

BUCKET = "grok-outputs"
LARGE = Geometry(
    vocab=128, d_model=1024, layers=1, experts=2, ffn=8192, q_width=1024, kv_width=512, head_dim=64
)
"""Files of 16 MiB and more: several parts each."""


@pytest.fixture(scope="module")
def server() -> Iterator[Moto]:
    with running() as moto:
        yield moto


@pytest.fixture
def moto(server: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moto]:
    from grokpack.storage.http import services

    for variable in ("GROKPACK_S3_ENDPOINT", "GROKPACK_GS_ENDPOINT"):
        monkeypatch.setenv(variable, server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "of-nobody")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    services.forget()
    client(server).create_bucket(Bucket=BUCKET)
    server.asked.clear()
    yield server
    server.fault = lambda *_: None
    storage.faults.hook = None
    empty(server)
    services.forget()


def empty(moto: Moto) -> None:
    s3 = client(moto)
    for row in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=row["Key"])
    for row in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=row["Key"], UploadId=row["UploadId"])
    s3.close()


def objects(moto: Moto, prefix: str = "out/") -> dict[str, bytes]:
    s3 = client(moto)
    rows = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    found = {
        row["Key"].removeprefix(prefix): s3.get_object(Bucket=BUCKET, Key=row["Key"])["Body"].read()
        for row in rows
    }
    s3.close()
    return found


def begun(moto: Moto) -> int:
    s3 = client(moto)
    count = len(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))
    s3.close()
    return count


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    geometry = replace(WIDE, layers=1, d_model=128)
    return synthesise(tmp_path_factory.mktemp("wide") / "source", geometry)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("large") / "source", LARGE)


def plan_of(kind: str, source: Path) -> Plan:
    checkpoint = open_checkpoint(str(source))
    if kind in ("safetensors", "ckpt-0"):
        return plan_reshard(checkpoint, 2, kind)
    if kind == "synth":
        return plan_synth(replace(WIDE, layers=1, d_model=128), 7)
    if kind == "gguf":
        split = ConvertOptions(type="f32", tokenizer="none", shard_bytes=200_000)
        return plan_convert(checkpoint, kind, split)
    if kind == "quantize":
        return plan_quantize(checkpoint, Choices(bits=4))
    return plan_convert(checkpoint, kind, ConvertOptions())


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [
        ("safetensors", "s3"),
        ("ckpt-0", "s3"),
        ("quantize", "s3"),
        ("archive", "gs"),
        ("hf", "gs"),
        ("gguf", "s3"),
        ("synth", "gs"),
        pytest.param("zarr", "s3", marks=pytest.mark.slow),
        pytest.param("orbax", "s3", marks=pytest.mark.slow),
    ],
)
def test_objects_are_the_files_of_a_local_run(
    kind: str, scheme: str, moto: Moto, wide: Path, tmp_path: Path
) -> None:
    out = f"{scheme}://{BUCKET}/out"
    plan = plan_of(kind, wide)
    execute(plan, out)
    assert_as_local(moto, plan, tmp_path)
    assert not begun(moto)
    assert execute(plan, out).already_done
    first = next(plan.target.layout.files()).path
    assert verify_structure(survey(f"{out}/{first}" if kind == "gguf" else out)).whole
    assert not any((tmp_path / "cache").rglob("uploads.jsonl"))


def test_large_files_go_in_parts(moto: Moto, large: Path, tmp_path: Path) -> None:
    plan = plan_of("safetensors", large)
    execute(plan, f"s3://{BUCKET}/out")
    assert_as_local(moto, plan, tmp_path)
    parts = sum(-(-f.nbytes // sink.PART_BYTES) for f in plan.target.layout.files())
    assert parts > sum(1 for _ in plan.target.layout.files())
    assert moto.asked.count("PUT partNumber") == parts
    assert forked.run("verify", f"s3://{BUCKET}/out", "--data").returncode == 0


def test_many_uploads_are_completed_at_a_time(moto: Moto, wide: Path) -> None:
    crowd = Crowd(0.1)
    moto.fault = lambda what, _: crowd.wait() if what == "POST uploadId" else None
    execute(plan_of("ckpt-0", wide), f"s3://{BUCKET}/out")
    assert crowd.most > 4
    assert verify_structure(survey(f"s3://{BUCKET}/out")).whole


@pytest.mark.usefixtures("moto")
def test_a_writer_keeps_one_part_of_a_file_of_any_size(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, writers = [0], list[bucket_sink.ObjectWriter]()
    write, begin = bucket_sink.ObjectWriter.write, bucket_sink.ObjectWriter.__init__

    def opened(self: bucket_sink.ObjectWriter, *args: Any) -> None:
        begin(self, *args)
        writers.append(self)

    def measured(self: bucket_sink.ObjectWriter, offset: int, data: memoryview) -> None:
        write(self, offset, data)
        held.append(sum(len(writer._buffer) for writer in writers))

    monkeypatch.setattr(bucket_sink.ObjectWriter, "__init__", opened)
    monkeypatch.setattr(bucket_sink.ObjectWriter, "write", measured)
    plan = plan_of("safetensors", large)
    execute(plan, f"s3://{BUCKET}/out", RunOptions(workers=1))
    assert max(file.nbytes for file in plan.target.layout.files()) > 2 * sink.PART_BYTES
    assert max(held) < 2 * sink.PART_BYTES  # ranks are a band of two


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("kind", "operation", "after"),
    [
        ("safetensors", "create", 1),
        ("safetensors", "publish", 1),
        ("archive", "upload", 5),
        ("archive", "write_whole", 1),
    ],
)
def test_a_run_that_was_killed_goes_on_and_sends_nothing_twice(
    kind: str, operation: str, after: int, moto: Moto, large: Path, tmp_path: Path
) -> None:
    out, plan, passed = f"s3://{BUCKET}/out", plan_of(kind, large), Counter[str]()

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
    execute(plan_of(kind, large), out)
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
    monkeypatch.setattr(range_requests, "_FIRST_PAUSE_S", 0)
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
    monkeypatch.setattr(range_requests, "_FIRST_PAUSE_S", 0)
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
    monkeypatch.setattr(range_requests, "_FIRST_PAUSE_S", 0)
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
    monkeypatch.setattr(range_requests, "_FIRST_PAUSE_S", 10_000.0)
    monkeypatch.setattr(range_requests, "_LONGEST_PAUSE_S", 10_000.0)
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
    monkeypatch.setattr(range_requests, "_FIRST_PAUSE_S", 0)
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


def assert_as_local(moto: Moto, plan: Plan, tmp_path: Path) -> None:
    """See that the bucket holds the bytes of a local run, and nothing else."""
    execute(plan, str(tmp_path / "local"))
    assert objects(moto) == tree(tmp_path / "local")


def refusal(plan: Plan, out: str, **limits: Any) -> GrokpackError:
    with pytest.raises(GrokpackError) as caught:
        execute(plan, out, RunOptions(**limits))
    return caught.value


def test_what_a_bucket_refuses_is_said_before_anything_is_sent(moto: Moto, wide: Path) -> None:
    plan = plan_of("hf", wide)
    error = refusal(plan, "s3://no-such-bucket/out")
    assert error.code == "GP328"
    assert "create the bucket" in str(error.hint)
    body = b"<Error><Code>AccessDenied</Code></Error>"
    moto.fault = lambda what, _: ("403 Forbidden", body) if what == "POST uploads" else None
    error = refusal(plan, f"s3://{BUCKET}/out")
    assert (error.code, error.facts) == ("GP328", (("answer", "403 AccessDenied"),))
    assert "PUT partNumber" not in moto.asked


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


def test_other_outputs_are_left_alone_unless_asked(moto: Moto, large: Path) -> None:
    out, first = f"s3://{BUCKET}/out", plan_of("safetensors", large)
    second = plan_of("ckpt-0", large)
    execute(first, out)
    assert refusal(second, out).code == "GP321"
    execute(second, out, RunOptions(restart=True))
    assert set(objects(moto)) == {f.path for f in second.target.layout.files()} | {
        "grokpack.json",
        *second.target.finals,
    }
    s3 = client(moto)
    s3.put_object(Bucket=BUCKET, Key="theirs/x", Body=b"x")
    s3.close()
    assert refusal(first, f"s3://{BUCKET}/theirs").code == "GP323"
    assert refusal(plan_reshard(open_checkpoint(out), 2), out).code == "GP325"


def test_restart_gives_up_what_was_begun(moto: Moto, large: Path) -> None:
    out, plan = f"s3://{BUCKET}/out", plan_of("safetensors", large)

    def hook(happens: str, path: str) -> None:
        if happens == "publish" and path.startswith("s3://"):
            raise Killed

    storage.faults.hook = hook
    with pytest.raises(Killed):
        execute(plan, out)
    storage.faults.hook = None
    assert begun(moto)
    execute(plan_of("ckpt-0", large), out, RunOptions(restart=True))
    assert not begun(moto)


def test_one_file_views_and_holes_are_refused(wide: Path, moto: Moto) -> None:
    out = f"s3://{BUCKET}/out"
    checkpoint = open_checkpoint(str(wide))
    single = plan_convert(checkpoint, "gguf", ConvertOptions(tokenizer="none", type="q8_0"))
    assert "--split" in str(refusal(single, f"{out}.gguf").hint)
    assert refusal(plan_synth(WIDE, 0, sparse=True), out).code == "GP326"
    assert refusal(plan_of("hf", wide), "https://example.org/x").code == "GP326"
    assert not moto.asked


def test_other_processes_send_their_parts_of_the_same_uploads(
    moto: Moto, large: Path, tmp_path: Path
) -> None:
    plan = plan_of("ckpt-0", large)  # many files, and some of several tiles
    execute(plan, str(tmp_path / "local"))
    with pytest.MonkeyPatch.context() as patch, processes() as workers:
        patch.setattr("grokpack.planning.tasks.TASK_BYTES", 1 << 20)
        limits = RunOptions(workers=1)
        with pytest.raises(GrokpackError) as caught:
            execute(plan, f"s3://{BUCKET}/out", limits, stop_after(limits, 3), workers)
        assert caught.value.code == "GP403"
        assert not objects(moto)
        outcome = execute(plan, f"s3://{BUCKET}/out", RunOptions(workers=1), executor=workers)
    assert len(outcome.processes) == 2
    assert 0 < outcome.written_bytes < plan.target.layout.nbytes
    assert objects(moto) == tree(tmp_path / "local")
    assert begun(moto) == 0


def test_compressed_files_go_to_a_bucket_from_one_process(moto: Moto, large: Path) -> None:
    plan = plan_convert(open_checkpoint(str(large)), "archive")
    with processes() as workers, pytest.raises(GrokpackError) as caught:
        execute(plan, f"s3://{BUCKET}/out", executor=workers)
    assert caught.value.code == "GP409"
    assert not objects(moto)
