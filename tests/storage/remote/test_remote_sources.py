"""Sources behind URLs: every command reads them as it reads the local folder."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.execution.run import execute
from grokpack.storage.http import redirects
from grokpack.verification.verify_structure import verify_structure
from tests.support import forked, grok2
from tests.support.checkpoints import synthesize, tree
from tests.support.servers import Answer, Asked, Crowd, Server, serving

if TYPE_CHECKING:
    from grokpack.execution.run_options import RunOptions
    from grokpack.planning.plan import Plan
from tests.support.server_faults import PLANS, both, contents


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


def test_a_release_that_is_cut_for_ranks_is_found_without_an_index(served: Server) -> None:
    release = served.root / "release"
    shutil.copytree(grok2.RELEASE, release)
    far, near = survey(f"{served.url}/release"), survey(str(release))
    assert far.whole
    assert far.checkpoint is not None
    assert near.checkpoint is not None
    assert far.checkpoint.identity() == near.checkpoint.identity()
    (release / "pytorch_model-00007-TP-003.safetensors").unlink()
    storage.forget(served.url)
    damaged = verify_structure(survey(f"{served.url}/release"))
    assert [(f.code, f.file) for f in damaged.findings] == [
        ("GP101", "pytorch_model-00007-TP-003.safetensors")
    ]


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
    from grokpack.transforms.buffer_sizes import BufferSizes
    from tests.support.checkpoints import SMALL

    geometry = replace(
        SMALL, d_model=256, ffn=1024, layers=1, q_width=256, kv_width=256, head_dim=32
    )
    monkeypatch.setattr(block_cache, "BLOCK_BYTES", 64 << 10)
    monkeypatch.setattr(
        "grokpack.execution.run.preflight", _narrow(BufferSizes(16 << 10, 64 << 10))
    )
    synthesize(tmp_path / "served" / "grok", geometry)
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


def test_scales_are_looked_at_many_at_a_time(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redirects, "_NEAR_S", 0.0)
    found = open_checkpoint(f"{served.url}/grok")
    storage.forget(served.url)  # what is kept of small reads as well
    crowd = Crowd(0.05)
    served.fault = lambda *_: crowd.wait()
    PLANS["gguf"](found)
    served.fault = None
    assert crowd.most > 4


def _narrow(buffer_sizes: Any) -> Any:
    from grokpack.execution.preflight import preflight

    def narrow(plan: Plan, out: str, limits: RunOptions) -> Any:
        from dataclasses import replace

        judged = preflight(plan, out, limits)
        return replace(judged, budget=replace(judged.budget, buffer_sizes=buffer_sizes))

    return narrow


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
