"""Chunked stores on a server: read as they are from a folder, and never waited for without end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.summary import document
from grokpack.checkpoint.tensorstore import interruptible_wait
from grokpack.conversion.plan_convert import plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.checkpoints import reshard, synthesize, tensor_files
from tests.support.conversions import WIDE, convert
from tests.support.servers import Server, impatient, serving

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
    options: dict[str, Any] = {"tp": 2}  # chunks that two ranks share, not eight: fewer files
    options |= {"compress": "zstd"} if kind == "zarr-zstd" else {}
    convert(origin, server.root / "store", kind.partition("-")[0], **options)
    far = f"{server.url}/store"
    verdict = verify_values(verify_structure(survey(far)))
    assert verdict.whole
    assert not verdict.findings
    files = [path for path in (server.root / "store").rglob("*") if path.is_file()]
    assert len(server.asked) < 3 * len(files)  # a look, and the end that the manifest tells
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


def test_a_stop_ends_the_waits_for_tensorstore_and_for_other_threads() -> None:
    never = _Never()
    waits: list[Callable[[], object]] = [
        lambda: interruptible_wait.wait_for(never),  # type: ignore[arg-type]
        lambda: interruptible_wait.wait_until(threading.Event()),
    ]
    for waiting in waits:
        with storage.interruptible(lambda: True), pytest.raises(GrokpackError) as caught:
            waiting()
        assert caught.value.code == "GP403"
    assert never.cancelled
