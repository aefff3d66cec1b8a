"""Sources behind URLs: every command reads them as it reads the local folder, whatever happens."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.storage.http import connections, redirects, request_threads
from grokpack.storage.http.connections import Connection, pool
from grokpack.storage.http.redirects import Resource, follow
from grokpack.storage.http.request_threads import Cancelled
from grokpack.verification.verify_structure import verify_structure
from tests.support import forked
from tests.support.checkpoints import GOLDEN, reshard, synthesise, tree
from tests.support.servers import Answer, Asked, Crowd, Server, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.planning.plan import Plan


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    root = tmp_path / "served"
    shutil.copytree(GOLDEN / "ckpt-0", root / "grok" / "ckpt-0")
    shutil.copy(GOLDEN / "config.json", root / "grok")
    with serving(root) as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)


def both(server: Server, tmp_path: Path, plan: Callable[[Checkpoint], Plan]) -> tuple[Path, Path]:
    """One output made from the local folder, one from the server."""
    local, far = tmp_path / "local", tmp_path / "far"
    plans = [
        plan(open_checkpoint(place)) for place in (str(server.root / "grok"), f"{server.url}/grok")
    ]
    assert plans[0].digest() == plans[1].digest()
    execute(plans[0], str(local))
    server.forget()
    execute(plans[1], str(far))
    return local, far


def contents(path: Path) -> dict[str, bytes]:
    return tree(path) if path.is_dir() else {"": path.read_bytes()}


PLANS: dict[str, Callable[[Checkpoint], Plan]] = {
    "reshard": lambda source: plan_reshard(source, 8),
    "reshard to ckpt-0": lambda source: plan_reshard(source, 2, "ckpt-0"),
    "hf": lambda source: plan_convert(source, "hf", ConvertOptions(tokenizer="none")),
    "sglang": lambda source: plan_convert(source, "sglang", ConvertOptions(tokenizer="none")),
    "gguf": lambda source: plan_convert(
        source, "gguf", ConvertOptions(type="q8_0", tokenizer="none")
    ),
    "quantize": lambda source: plan_quantize(
        source, QuantizeOptions(bits=4, group="32", method="rtn", tokenizer="none")
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_an_output_is_the_same_from_a_server_as_from_the_local_folder(
    name: str, served: Server, tmp_path: Path
) -> None:
    local, far = both(served, tmp_path, PLANS[name])
    assert contents(local) == contents(far)
    manifests = [Path(f"{out}.grokpack.json") for out in (local, far)]
    assert name != "gguf" or manifests[0].read_bytes() == manifests[1].read_bytes()


@pytest.mark.parametrize("name", ["reshard", "hf", "sglang", "gguf", "quantize"])
def test_what_was_written_is_read_from_a_server_too(
    name: str, served: Server, tmp_path: Path
) -> None:
    name_there = "model.gguf" if name == "gguf" else "made"
    made = served.root / name_there
    execute(PLANS[name](open_checkpoint(str(served.root / "grok"))), str(made))
    far, near = survey(f"{served.url}/{name_there}"), survey(str(made))
    assert far.whole
    assert (far.format, far.expected) == (near.format, near.expected)
    assert far.checkpoint is not None
    assert near.checkpoint is not None
    assert far.checkpoint.identity() == near.checkpoint.identity()
    outs = [tmp_path / "a", tmp_path / "b"]
    for found, out in zip((far, near), outs, strict=True):
        assert found.checkpoint is not None
        execute(plan_convert(found.checkpoint, "hf", ConvertOptions(tokenizer="none")), str(out))
    assert tree(outs[0]) == tree(outs[1])


def test_inspect_and_verify_read_little_more_than_headers(served: Server) -> None:
    found = survey(f"{served.url}/grok")
    asked = list(served.asked)
    assert verify_structure(found).whole
    assert len(served.asked) <= len(asked) + 1  # whether there is a manifest
    assert all(a.range is not None and a.range[1] - a.range[0] <= 8192 for a in asked)
    files = [a for a in asked if a.path.rpartition("/")[2].startswith("tensor")]
    # head, the scales' header and the tail of each, and tries behind the last
    assert len(files) <= 3 * found.expected + 64
    assert served.sent_bytes <= 16384 * found.expected


def test_headers_are_fetched_many_at_a_time(served: Server) -> None:
    waiting, guard = 0, threading.Lock()
    enough, late = threading.Event(), threading.Event()

    def route(asked: Asked) -> None:
        nonlocal waiting
        if "tensor0001" in asked.path:
            with guard:
                waiting += 1
                if waiting == 8:
                    enough.set()
            if not enough.wait(timeout=10):  # with few at a time, the eighth would not come
                late.set()

    served.route = route
    assert survey(f"{served.url}/grok").expected == 38
    assert enough.is_set()
    assert not late.is_set()


def test_verify_reads_all_values_from_a_server(served: Server) -> None:
    from grokpack.verification.verify_values import verify_values

    verdict = verify_values(verify_structure(survey(f"{served.url}/grok")))
    assert verdict.whole
    assert verdict.checks["values"] == "ok"
    assert served.sent_bytes > 3_000_000


def test_statistics_of_turned_matrices_are_the_same_from_a_server(served: Server) -> None:
    from grokpack.verification.verify_values import statistics

    made = served.root / "made"
    execute(PLANS["hf"](open_checkpoint(str(served.root / "grok"))), str(made))
    near, far = open_checkpoint(str(made)), open_checkpoint(f"{served.url}/made")
    assert statistics(near) == statistics(far)


@pytest.mark.parametrize("end", ["/ckpt-0", "", "/"])
def test_a_url_may_name_the_folder_of_the_files_or_the_one_above(end: str, served: Server) -> None:
    assert open_checkpoint(f"{served.url}/grok{end}").config["key_size"] > 0


def test_a_missing_file_is_a_finding_there_too(served: Server) -> None:
    (served.root / "grok" / "ckpt-0" / "tensor00007_000").unlink()
    near, far = survey(str(served.root / "grok")), survey(f"{served.url}/grok")
    assert [(f.code, f.file) for f in far.findings] == [(f.code, f.file) for f in near.findings]
    assert far.findings


def test_strips_are_fetched_once_however_often_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from grokpack.storage.http import block_cache
    from grokpack.transforms.step_sizes import StepSizes
    from tests.support.checkpoints import SMALL

    geometry = replace(
        SMALL, d_model=256, ffn=1024, layers=1, q_width=256, kv_width=256, head_dim=32
    )
    monkeypatch.setattr(block_cache, "BLOCK_BYTES", 64 << 10)
    monkeypatch.setattr("grokpack.execution.run.preflight", _narrow(StepSizes(16 << 10, 64 << 10)))
    synthesise(tmp_path / "served" / "grok", geometry)
    with serving(tmp_path / "served") as server:
        local, far = both(server, tmp_path, PLANS["gguf"])
        assert contents(local) == contents(far)
        source = sum(p.stat().st_size for p in (server.root / "grok").rglob("*") if p.is_file())
        assert server.sent_bytes < 1.2 * source


def test_a_run_looks_at_each_file_again_once_when_it_ends(served: Server, tmp_path: Path) -> None:
    plan = PLANS["hf"](open_checkpoint(f"{served.url}/grok"))
    assert plan.source is not None
    served.forget()
    execute(plan, str(tmp_path / "out"))
    looks = [asked.path for asked in served.asked if asked.range == (0, 1)]
    assert len(looks) == len(set(looks)) == sum(1 for _ in plan.source.layout.files())


def test_scales_are_looked_at_many_at_a_time(served: Server) -> None:
    found = open_checkpoint(f"{served.url}/grok")
    storage.forget(served.url)  # what is kept of small reads as well
    crowd = Crowd(0.05)
    served.fault = lambda *_: crowd.wait()
    PLANS["gguf"](found)
    served.fault = None
    assert crowd.most > 4


def _narrow(pace: Any) -> Any:
    from grokpack.execution.preflight import preflight

    def narrow(plan: Plan, out: str, limits: RunOptions) -> Any:
        from dataclasses import replace

        judged = preflight(plan, out, limits)
        return replace(judged, budget=replace(judged.budget, pace=pace))

    return narrow


# --- what goes wrong ---------------------------------------------------------------------------


def only_payload(fault: Callable[[Asked, Answer], None], every: int = 1) -> Any:
    """A fault of every so many answers to reads that are longer than headers."""
    seen = 0
    guard = threading.Lock()

    def spoil(asked: Asked, answer: Answer) -> None:
        nonlocal seen
        if asked.range is None or asked.range[1] - asked.range[0] <= 8192:
            return
        with guard:
            seen += 1
            mine = seen % every == 0
        if mine:
            fault(asked, answer)

    return spoil


def _drop(_: Asked, answer: Answer) -> None:
    answer.cut = len(answer.body) // 2


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


PASSING = [_drop, _drop_at_once, _busy, _too_many, _page, _shifted, _longer, _shorter, _whole]
PASSING += [_unranged, _zipped, _nonsense]


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again_and_the_output_is_right(
    fault: Callable[[Asked, Answer], None], served: Server, tmp_path: Path
) -> None:
    served.fault = only_payload(fault, every=5)
    local, far = both(served, tmp_path, PLANS["reshard"])
    assert contents(local) == contents(far)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (_drop, "GP221"),
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
    from grokpack.storage.http import connections, range_requests

    monkeypatch.setattr(connections, "SILENCE_S", 0.2)
    monkeypatch.setattr(range_requests, "TRIES", 2)

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
    from grokpack.storage.http import range_requests

    monkeypatch.setattr(range_requests, "SILENCE_S", 0.3)
    monkeypatch.setattr(range_requests, "TRIES", 1)
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


def test_names_that_are_not_there_cost_no_connection(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Connection] = []

    class Counted(Connection):
        def __init__(self, address: Any) -> None:
            super().__init__(address)
            made.append(self)

    monkeypatch.setattr(connections, "Connection", Counted)
    pool.close()
    for number in range(50):
        assert not storage.exists(f"{served.url}/grok/missing{number}.json")
    assert len(made) == 1


@pytest.mark.parametrize(("near_s", "ranges"), [(60.0, 1), (0.0, 4)])
def test_a_server_that_is_far_is_asked_several_things_at_once(
    near_s: float, ranges: int, served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redirects, "_NEAR_S", near_s)
    path, nbytes = served.root / "large", 5 << 20
    path.write_bytes(os.urandom(nbytes))
    buffer = bytearray(nbytes - 7)
    storage.FileBytes(f"{served.url}/large").size()
    served.forget()
    storage.read_into(f"{served.url}/large", 7, memoryview(buffer))
    assert buffer == path.read_bytes()[7:]
    assert len(served.asked) == ranges


def test_flights_share_threads(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{served.url}/grok/config.json"
    made: list[object] = []

    class Counted(request_threads._RequestThread):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(request_threads, "_RequestThread", Counted)
    request_threads._idle.clear()
    for _ in range(40):
        storage.forget(path)
        assert storage.FileBytes(path).size()
    assert 1 <= len(made) < 20  # one that has just landed may not rest yet


def test_a_flight_called_off_before_it_asks_leaves_no_connection_open(served: Server) -> None:
    pool.close()
    storage.FileBytes(f"{served.url}/grok/config.json").size()
    (idle,) = pool._idle
    resource = Resource(
        "here", Mock(headers=lambda _: {}), lambda: f"{served.url}/grok/config.json"
    )
    with pytest.raises(Cancelled):
        follow(Mock(check=Mock(side_effect=Cancelled)), resource, {}, Mock())
    assert not pool._idle
    assert idle.http.sock is None


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
        from grokpack.storage.http import range_requests

        patch.setattr(range_requests, "TRIES", 2)
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


# --- what a server may be like -------------------------------------------------------------------


def test_nothing_there_says_what_was_looked_for(served: Server) -> None:
    with pytest.raises(GrokpackError) as caught:
        survey(f"{served.url}/elsewhere")
    assert caught.value.code == "GP201"
    assert ("looked for", "tensor00000_000") in caught.value.facts


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        url = server.url
    with pytest.raises(GrokpackError) as caught:
        survey(f"{url}/grok")
    assert caught.value.code == "GP221"


@pytest.mark.parametrize(
    ("name", "code"), [("tensor00005_000", 401), ("tensor00005_000", 403), ("config.json", 401)]
)
def test_a_file_that_alone_is_refused_is_not_missing(served: Server, name: str, code: int) -> None:
    """403 for a config may mean that there is none: buckets that may not be listed say that."""

    def refuse(asked: Asked, answer: Answer) -> None:
        if asked.path.endswith(f"/{name}"):
            answer.status, answer.body, answer.headers = code, b"", {}

    served.fault = refuse
    with pytest.raises(GrokpackError) as caught:
        survey(f"{served.url}/grok")
    assert caught.value.code == "GP222"
    assert name in str(caught.value)


def test_access_that_is_refused_says_so(served: Server) -> None:
    def refuse(_: Asked, answer: Answer) -> None:
        answer.status, answer.body, answer.headers = 403, b"", {}

    served.fault = refuse
    with pytest.raises(GrokpackError) as caught:
        survey(f"{served.url}/grok")
    assert caught.value.code == "GP222"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/grok",
        "https:///grok",
        "https://user:word@host/grok",
        "https://host/grok?x=1",
        "https://host/../grok",
        "https://host/gr\nok",
        "hf://xai-org",
    ],
)
def test_a_url_that_would_be_misunderstood_is_refused(url: str) -> None:
    with pytest.raises(GrokpackError) as caught:
        survey(url)
    assert caught.value.code == "GP224"


def test_an_output_at_a_url_is_refused(served: Server) -> None:
    with pytest.raises(GrokpackError) as caught:
        execute(plan_reshard(open_checkpoint(str(served.root / "grok")), 2), f"{served.url}/out")
    assert caught.value.code == "GP326"


@pytest.mark.parametrize("to", ["http://127.0.0.1:1/x", "file:///etc/passwd", "https://a@b/x"])
def test_redirections_stay_on_the_web_and_end(to: str, served: Server) -> None:
    where = served.url + "/grok/x" if to.startswith("http://127") else to

    def loop(_: Asked) -> Answer:
        return Answer(302, {"Location": where})

    served.route = loop
    with pytest.raises(GrokpackError) as caught:
        storage.FileBytes(f"{served.url}/grok/config.json").size()
    assert caught.value.code == "GP223"


def test_a_manifest_of_a_server_names_no_file_elsewhere(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/etc/passwd", "a\\b", "ok/tensor", "x\x1b[2J"]
    (tmp_path / "grok").mkdir()
    (tmp_path / "grok" / "grokpack.json").write_text(json.dumps({"files": dict.fromkeys(names)}))
    with serving(tmp_path) as server:
        assert storage.names(f"{server.url}/grok") == ["grokpack.json", "ok"]


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for loopback, and a server's context that has its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, folder / "key.pem")
    return pem, context


@pytest.mark.parametrize("trusted", [True, False])
def test_https_is_read_where_the_certificate_is_trusted(
    trusted: bool, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grokpack.storage.http import connections, range_requests

    pem, context = certificate(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    connections._tls.cache_clear()
    monkeypatch.setattr(range_requests, "TRIES", 2)
    with serving(served.root, context) as secure:
        if not trusted:
            with pytest.raises(GrokpackError) as caught:
                survey(f"{secure.url}/grok")
            assert caught.value.code == "GP221"
            assert "certificate" in str(caught.value.facts).lower()
            return
        limits = RunOptions()
        plan = plan_reshard(open_checkpoint(f"{secure.url}/grok"), 2)

        def silent(_: Asked, answer: Answer) -> None:
            answer.stall = 100
            limits.stop.set()

        secure.fault = only_payload(silent)
        with pytest.raises(GrokpackError) as caught:
            execute(plan, str(tmp_path / "out"), limits)
        assert caught.value.code == "GP403"
        secure.fault = only_payload(_drop, every=5)
        execute(plan, str(tmp_path / "out"))
    connections._tls.cache_clear()
    reshard(served.root / "grok", tmp_path / "clean", 2)
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_a_proxy_is_asked_where_the_environment_names_one(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy gets whole URLs; the host itself does not exist."""
    monkeypatch.setenv("http_proxy", served.url)
    storage.forget("http://weights.invalid")
    assert survey("http://weights.invalid/grok").whole
    assert {asked.headers["host"] for asked in served.asked} == {"weights.invalid"}


FAULTS = [_drop, _drop_at_once, _busy, _too_many, _page, _shifted, _longer, _shorter, _whole]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_chance_faults_of_every_kind_never_change_an_output(
    seed: int, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs fail or do not; what is published at last is what the local folder gives."""
    from grokpack.storage.http import connections, range_requests

    monkeypatch.setattr(connections, "SILENCE_S", 0.3)
    monkeypatch.setattr(range_requests, "TRIES", 3)
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


# --- the command line ----------------------------------------------------------------------------


def grokpack(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return forked.run(*words, "--progress", "none", cwd=cwd, GROKPACK_HTTP_RETRIES="1", **env)


def test_commands_take_urls_and_write_beside_the_user(served: Server, tmp_path: Path) -> None:
    made = grokpack("reshard", f"{served.url}/grok/ckpt-0", "--tp", "2", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "grok-tp2" / "grokpack.json").exists()
    shown = grokpack("inspect", f"{served.url}/grok", "--json", cwd=tmp_path)
    assert json.loads(shown.stdout)["data"]["source"] == f"{served.url}/grok/ckpt-0"
    refused = grokpack(
        "reshard", f"{served.url}/grok", "--tp", "2", "-o", "http://b/k", cwd=tmp_path
    )
    assert refused.returncode == 5
    assert "GP326" in refused.stderr


def test_ctrl_c_ends_a_command_that_waits_for_a_server(served: Server, tmp_path: Path) -> None:
    asked = threading.Event()

    def silent(_: Asked, answer: Answer) -> None:
        answer.stall = 0
        asked.set()

    served.fault = silent
    command = [*forked.COMMAND, "inspect", f"{served.url}/grok"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert asked.wait(30)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert time.monotonic() - began < 20  # and not after the silence of 30 seconds
