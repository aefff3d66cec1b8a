"""Servers that stall, break off and lie: the output is right, or the run ends and goes on later."""

from __future__ import annotations

import random
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
from grokpack.storage.http import connections
from tests.support.checkpoints import reshard, tree
from tests.support.servers import Answer, Asked, Server, serving

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.support.server_faults import PLANS, both, contents, drop, only_payload


def _drop_at_once(_: Asked, answer: Answer) -> None:
    answer.cut = 0


def _busy(_: Asked, answer: Answer) -> None:
    answer.status, answer.body = 503, b"later"
    answer.headers = {"Retry-After": "0"}


def _too_many(_: Asked, answer: Answer) -> None:
    answer.status, answer.body, answer.headers = 429, b"", {}


def _page(_: Asked, answer: Answer) -> None:
    answer.status, answer.body = 200, b"<html>an error, with good cheer</html>"
    answer.headers = {"Content-Type": "text/html"}


def _shifted(asked: Asked, answer: Answer) -> None:
    assert asked.range is not None
    start, stop = asked.range
    size = answer.headers["Content-Range"].rpartition("/")[2]
    answer.headers["Content-Range"] = f"bytes {start + 1}-{stop}/{size}"


def _longer(_: Asked, answer: Answer) -> None:
    answer.body += b"more"


def _shorter(_: Asked, answer: Answer) -> None:
    answer.body = answer.body[:-1]


def _whole(_: Asked, answer: Answer) -> None:
    answer.status = 200
    answer.headers.pop("Content-Range", None)
    answer.headers["Content-Length"] = str(1 << 40)
    answer.cut = 0


def _unranged(_: Asked, answer: Answer) -> None:
    answer.headers.pop("Content-Range", None)


def _zipped(_: Asked, answer: Answer) -> None:
    answer.headers["Content-Encoding"] = "gzip"


def _stall(_: Asked, answer: Answer) -> None:
    answer.stall = len(answer.body) // 2


def _nonsense(_: Asked, answer: Answer) -> None:
    answer.status, answer.headers, answer.body = 418, {}, b""


FAULTS = [drop, _drop_at_once, _busy, _too_many, _page, _shifted, _longer, _shorter, _whole]
PASSING = [*FAULTS, _unranged, _zipped, _nonsense]


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again_and_the_output_is_right(
    fault: Callable[[Asked, Answer], None], served: Server, tmp_path: Path
) -> None:
    served.fault = only_payload(fault, every=5)
    local, far = both(served, tmp_path, PLANS["reshard to ckpt-0"])
    assert contents(local) == contents(far)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (drop, "GP221"),
        (_busy, "GP221"),
        (_page, "GP223"),
        (_shifted, "GP223"),
        (_longer, "GP223"),
        (_shorter, "GP223"),
        (_whole, "GP223"),
        (_unranged, "GP223"),
        (_zipped, "GP223"),
    ],
)
def test_what_does_not_pass_is_an_error_and_the_same_command_goes_on_later(
    fault: Callable[[Asked, Answer], None], code: str, served: Server, tmp_path: Path
) -> None:
    clean, out = tmp_path / "clean", tmp_path / "out"
    reshard(served.root / "grok", clean, 2)
    plan = plan_reshard(open_checkpoint(f"{served.url}/grok"), 2)
    served.fault = only_payload(fault)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(out))
    assert caught.value.code == code
    assert str(caught.value.where).startswith(served.url)
    assert not (out / "grokpack.json").exists()
    served.fault = None
    execute(plan_reshard(open_checkpoint(f"{served.url}/grok"), 2), str(out))
    assert tree(out) == tree(clean)


def test_a_server_that_falls_silent_is_left(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grokpack.storage.http import retry_policy

    monkeypatch.setattr(connections, "SILENCE_S", 0.2)
    monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 2)

    def silent(_: Asked, answer: Answer) -> None:
        answer.stall = 100

    plan = plan_reshard(open_checkpoint(f"{served.url}/grok"), 2)
    served.fault = only_payload(silent)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"))
    assert caught.value.code == "GP221"
    assert any("nothing came" in text for _, text in caught.value.facts)


def test_a_server_that_drips_is_left(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is in time, and the whole never would be."""
    from grokpack.storage.http import range_requests, retry_policy

    monkeypatch.setattr(range_requests, "SILENCE_S", 0.3)
    monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 1)
    path = f"{served.url}/grok/ckpt-0/tensor00000_000"
    assert storage.FileBytes(path).size() > 100_000

    def drip(_: Asked, answer: Answer) -> None:
        answer.drip_s = 0.02

    served.fault = drip
    with pytest.raises(GrokpackError) as caught:
        storage.read_into(path, 0, memoryview(bytearray(80_000)))
    assert caught.value.code == "GP221"


@pytest.mark.parametrize("wait", ["deadline", "stop"])
def test_a_run_that_waits_for_a_server_stops_at_once(
    wait: str, served: Server, tmp_path: Path
) -> None:
    plan = plan_reshard(open_checkpoint(f"{served.url}/grok"), 2)
    limits = RunOptions(deadline_s=0.5 if wait == "deadline" else None)

    def silent(_: Asked, answer: Answer) -> None:
        answer.stall = 100
        if wait == "stop":
            limits.stop.set()

    served.fault = only_payload(silent)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"), limits)
    assert caught.value.code == ("GP404" if wait == "deadline" else "GP403")
    served.fault = None
    execute(plan, str(tmp_path / "out"))


def test_a_run_whose_server_dies_goes_on_when_it_is_back(served: Server, tmp_path: Path) -> None:
    root, port = served.root, int(served.url.rpartition(":")[2])
    assert port
    out, clean = tmp_path / "out", tmp_path / "clean"
    reshard(root / "grok", clean, 2)
    done = 0

    def dies(_: Asked, answer: Answer) -> None:
        nonlocal done
        done += len(answer.body)
        if done > 1_500_000:
            answer.cut = 0

    plan = plan_reshard(open_checkpoint(f"{served.url}/grok"), 2)
    served.fault = dies
    with pytest.MonkeyPatch.context() as patch:
        from grokpack.storage.http import retry_policy

        patch.setattr(retry_policy, "MAX_ATTEMPTS", 2)
        with pytest.raises(GrokpackError) as caught:
            execute(plan, str(out), RunOptions(workers=1))
    assert caught.value.code == "GP221"
    assert caught.value.exit_status == 75
    with serving(root) as other:  # another address: the same run
        execute(plan_reshard(open_checkpoint(f"{other.url}/grok"), 2), str(out))
    assert tree(out) == tree(clean)


@pytest.mark.parametrize("form", ["chunked", "closing"])
def test_answers_of_other_forms_are_read_as_well(form: str, served: Server, tmp_path: Path) -> None:
    def formed(_: Asked, answer: Answer) -> None:
        answer.chunked = form == "chunked"
        if form == "closing":
            answer.headers["Connection"] = "close"

    served.fault = formed
    local, far = both(served, tmp_path, PLANS["reshard"])
    assert contents(local) == contents(far)


def test_chunks_that_go_on_behind_the_range_are_refused(served: Server) -> None:
    path = f"{served.url}/grok/ckpt-0/tensor00000_000"
    storage.FileBytes(path).size()

    def longer(_: Asked, answer: Answer) -> None:
        answer.chunked, answer.body = True, answer.body + b"more"

    served.fault = longer
    with pytest.raises(GrokpackError) as caught:
        storage.read_into(path, 0, memoryview(bytearray(100_000)))
    assert caught.value.code == "GP223"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_chance_faults_of_every_kind_never_change_an_output(
    seed: int, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs fail or do not; what is published at last is what the local folder gives."""
    from grokpack.storage.http import retry_policy

    monkeypatch.setattr(connections, "SILENCE_S", 0.3)
    monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 3)
    chance, guard = random.Random(seed), threading.Lock()
    name = chance.choice(sorted(PLANS))
    execute(PLANS[name](open_checkpoint(str(served.root / "grok"))), str(tmp_path / "clean"))

    shares, codes = [0.3, 0.2, 0.1, 0.05, 0.02, 0.0], []

    def spoil(_: Asked, answer: Answer) -> None:
        with guard:
            strikes, fault = chance.random() < shares[0], chance.choice([*FAULTS, _stall])
        if strikes and answer.status == 206:
            fault(_, answer)

    served.fault = spoil
    while shares:
        try:
            execute(PLANS[name](open_checkpoint(f"{served.url}/grok")), str(tmp_path / "out"))
            break
        except GrokpackError as error:
            codes.append(error.code)
            del shares[0]
    assert set(codes) <= {"GP221", "GP223"}
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")
