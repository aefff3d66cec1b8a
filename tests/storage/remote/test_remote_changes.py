"""Objects that change while they are read: no output is ever a mixture of two versions."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from tests.support.checkpoints import reshard, tree

if TYPE_CHECKING:
    from tests.support.servers import Answer, Asked, Server


def test_an_object_that_changes_in_mid_run_never_makes_a_mixture(
    served: Server, tmp_path: Path
) -> None:
    files = sorted((served.root / "grok" / "ckpt-0").iterdir(), key=lambda p: p.stat().st_size)
    largest = files[-1]
    plan = plan_reshard(open_checkpoint(f"{served.url}/grok"), 2)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"))
    assert caught.value.code == "GP213"
    assert not (tmp_path / "out" / "grokpack.json").exists()


def test_reads_ask_for_the_version_that_was_opened(served: Server) -> None:
    path = f"{served.url}/grok/ckpt-0/tensor00000_000"
    nbytes = storage.FileBytes(path).size()
    storage.read_into(path, 0, memoryview(bytearray(nbytes)))
    assert all("if-match" in asked.headers for asked in served.asked[1:])
    assert len(served.asked) > 1


@pytest.mark.parametrize("tag", ["ETag", "Last-Modified"])
def test_a_read_of_another_version_is_refused_whatever_the_server_thinks_of_conditions(
    tag: str, served: Server
) -> None:
    version = "one"

    def tagged(_: Asked, answer: Answer) -> None:
        answer.headers.pop("ETag", None)
        answer.headers[tag] = f"W/{version}"

    served.fault = tagged
    path = f"{served.url}/grok/ckpt-0/tensor00000_000"
    storage.read_into(path, 0, memoryview(bytearray(100_000)))
    version = "two"
    with pytest.raises(GrokpackError) as caught:
        storage.read_into(path, 0, memoryview(bytearray(100_000)))
    assert caught.value.code == "GP213"


@pytest.mark.parametrize("held", [{}, {"Last-Modified": "Tue, 03 Mar 2026 10:00:00 GMT"}])
def test_a_change_is_seen_where_the_server_takes_no_condition(
    held: dict[str, str], served: Server, tmp_path: Path
) -> None:
    """Tags by date, or none: sizes are looked at, and the tag of each answer."""
    target = "tensor00002_000"

    def no_tags(asked: Asked, answer: Answer) -> None:
        answer.headers.pop("ETag", None)
        answer.headers |= held
        if changed.is_set() and asked.path.endswith(target) and answer.status == 206:
            if held:
                answer.headers["Last-Modified"] = "Wed, 04 Mar 2026 10:00:00 GMT"
            else:
                start, _, size = answer.headers["Content-Range"].rpartition("/")
                answer.headers["Content-Range"] = f"{start}/{int(size) + 1}"

    changed = threading.Event()
    served.fault = no_tags
    plan = plan_reshard(open_checkpoint(f"{served.url}/grok"), 2)
    changed.set()
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"))
    assert caught.value.code == "GP213"


def test_a_run_goes_on_from_a_server_that_began_in_the_local_folder(
    served: Server, tmp_path: Path
) -> None:
    clean, out = tmp_path / "clean", tmp_path / "out"
    local = str(served.root / "grok")
    reshard(Path(local), clean, 2)
    tasks = 0

    class Crash(Exception):
        pass

    def crash(operation: str, _: str) -> None:
        nonlocal tasks
        tasks += operation == "append"
        if tasks == 1:
            raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grokpack.planning.tasks.TASK_BYTES", 1 << 18)
        storage.faults.hook = crash
        with pytest.raises(Crash):
            execute(plan_reshard(open_checkpoint(local), 2), str(out), RunOptions(workers=1))
        storage.faults.hook = None
    served.forget()
    execute(plan_reshard(open_checkpoint(f"{served.url}/grok"), 2), str(out))
    assert tree(out) == tree(clean)
