"""Chunked stores on a server: read as they are from a folder, and never waited for without end."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.summary import document
from grokpack.checkpoint.tensorstore import wait
from grokpack.conversion.plan_convert import plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.storage.http import connections
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.checkpoints import reshard, synthesize, tensor_files
from tests.support.converting import WIDE, convert
from tests.support.servers import Answer, Asked, Server, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", replace(WIDE, layers=1), seed=3)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    impatient(monkeypatch)
    served = tmp_path / "served"
    served.mkdir()
    with serving(served) as place:
        yield place


@pytest.mark.parametrize("kind", ["zarr", "zarr-zstd", "orbax"])
def test_a_store_on_a_server_is_read_as_it_is_from_a_folder(
    origin: Path, server: Server, tmp_path: Path, kind: str
) -> None:
    options: dict[str, Any] = {"compress": "zstd"} if kind == "zarr-zstd" else {}
    convert(origin, server.root / "store", kind.partition("-")[0], **options)
    far = f"{server.url}/store"
    verdict = verify_values(verify_structure(survey(far)))
    assert verdict.whole
    assert not verdict.findings
    near = document(survey(str(server.root / "store")), None)
    assert document(survey(far), None)["tensors"] == near["tensors"]
    execute(plan_convert(open_checkpoint(far), "ckpt-0"), str(tmp_path / "back"))
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(origin / "ckpt-0")
    reshard(Path(server.root / "store"), tmp_path / "near", 2)
    from grokpack.conversion.plan_reshard import plan_reshard

    execute(plan_reshard(open_checkpoint(far), 2, "safetensors"), str(tmp_path / "far"))
    for path in (tmp_path / "near").rglob("*.safetensors"):
        twin = tmp_path / "far" / path.relative_to(tmp_path / "near")
        assert twin.read_bytes() == path.read_bytes()


def test_a_server_that_stops_answering_is_left(
    origin: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(origin, server.root / "store", "zarr")
    source = open_checkpoint(f"{server.url}/store")

    def silent(asked: Asked, answer: Answer) -> None:
        if _is_tensorstores(asked):  # grokpack's own requests have tests of their own
            answer.stall = 0

    server.fault = silent
    monkeypatch.setattr(connections, "SILENCE_S", 0.1)
    began = time.monotonic()
    with pytest.raises(GrokpackError) as caught:
        execute(plan_convert(source, "ckpt-0"), str(tmp_path / "back"))
    assert caught.value.code == "GP221"
    assert time.monotonic() - began < 60  # not without end; no figure


def test_a_server_that_fails_for_a_while_is_asked_again(
    origin: Path, server: Server, tmp_path: Path
) -> None:
    convert(origin, server.root / "store", "zarr")
    source = open_checkpoint(f"{server.url}/store")
    failed: set[str] = set()

    def failing(asked: Asked, answer: Answer) -> None:
        if _is_tensorstores(asked) and len(failed) < 3 and asked.path not in failed:
            failed.add(asked.path)
            answer.status, answer.body = 503, b""
            answer.headers.clear()

    server.fault = failing
    execute(plan_convert(source, "ckpt-0"), str(tmp_path / "back"))
    assert len(failed) == 3
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(origin / "ckpt-0")


def _is_tensorstores(asked: Asked) -> bool:
    return "tensorstore" in asked.headers.get("user-agent", "")


class _Never:
    """A read that nothing comes of."""

    cancelled = False

    def done(self) -> bool:
        return False

    def cancel(self) -> None:
        self.cancelled = True

    def result(self, timeout: float | None = None) -> None:
        assert timeout is not None
        raise TimeoutError


def test_a_signal_ends_the_wait_for_a_server() -> None:
    never = _Never()
    with storage.interruptible(lambda: True), pytest.raises(GrokpackError) as caught:
        wait.wait_for(never, "http://127.0.0.1:1/store")  # type: ignore[arg-type]
    assert caught.value.code == "GP403"
    assert never.cancelled
