"""Outputs in buckets: the bytes of a local run, whole or absent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import plan_synth
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.storage import sink_protocol
from grokpack.storage.buckets import bucket_object_writer
from grokpack.verification.verify_structure import verify_structure
from tests.support import forked, grok2
from tests.support.buckets import Moto, client
from tests.support.checkpoints import tree
from tests.support.conversions import WIDE
from tests.support.executors import processes, stop_after
from tests.support.servers import Crowd

if TYPE_CHECKING:
    from pathlib import Path

from tests.support.bucket_outputs import (
    BUCKET,
    Killed,
    assert_as_local,
    begun,
    objects,
    plan_of,
    refusal,
)


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
    parts = sum(-(-f.nbytes // sink_protocol.PART_BYTES) for f in plan.target.layout.files())
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
    held, writers = [0], list[bucket_object_writer.ObjectWriter]()
    write, begin = (
        bucket_object_writer.ObjectWriter.write,
        bucket_object_writer.ObjectWriter.__init__,
    )

    def opened(self: bucket_object_writer.ObjectWriter, *args: Any) -> None:
        begin(self, *args)
        writers.append(self)

    def measured(self: bucket_object_writer.ObjectWriter, offset: int, data: memoryview) -> None:
        write(self, offset, data)
        held.append(sum(len(writer._buffer) for writer in writers))

    monkeypatch.setattr(bucket_object_writer.ObjectWriter, "__init__", opened)
    monkeypatch.setattr(bucket_object_writer.ObjectWriter, "write", measured)
    plan = plan_of("safetensors", large)
    execute(plan, f"s3://{BUCKET}/out", RunOptions(workers=1))
    assert max(file.nbytes for file in plan.target.layout.files()) > 2 * sink_protocol.PART_BYTES
    assert max(held) < 2 * sink_protocol.PART_BYTES  # ranks are a file group of two


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


def test_other_outputs_are_left_alone_unless_asked(moto: Moto, wide: Path) -> None:
    out, first = f"s3://{BUCKET}/out", plan_of("safetensors", wide)
    second = plan_of("ckpt-0", wide)
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


def test_compressed_files_go_to_a_bucket_from_one_process(moto: Moto, wide: Path) -> None:
    plan = plan_convert(open_checkpoint(str(wide)), "archive")
    with processes() as workers, pytest.raises(GrokpackError) as caught:
        execute(plan, f"s3://{BUCKET}/out", executor=workers)
    assert caught.value.code == "GP409"
    assert not objects(moto)


@pytest.mark.parametrize("to", ["sglang", pytest.param("zarr", marks=pytest.mark.slow)])
def test_a_release_in_a_bucket_becomes_what_a_local_one_does(
    to: str, moto: Moto, tmp_path: Path
) -> None:
    s3 = client(moto)
    for path in grok2.RELEASE.iterdir():
        s3.put_object(Bucket=BUCKET, Key=f"release/{path.name}", Body=path.read_bytes())
    s3.close()
    storage.forget(f"s3://{BUCKET}")
    sources = f"s3://{BUCKET}/release", str(grok2.RELEASE)
    far, near = (plan_convert(open_checkpoint(source), to) for source in sources)
    assert far.digest() == near.digest()
    execute(far, f"s3://{BUCKET}/out")
    assert_as_local(moto, near, tmp_path)
