"""The command line: statuses, streams, JSON, and what works with nothing else on the line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from tests.support.checkpoints import GOLDEN, synthesize, tensor_files, tree
from tests.support.forked import run
from tests.support.project import ROOT


def test_the_whole_job_from_the_command_line(tmp_path: Path) -> None:
    assert run("synth", tmp_path / "m").returncode == 0
    whole = run("verify", tmp_path / "m", "--values")
    assert whole.returncode == 0
    assert whole.stdout.startswith("ok  structure: 38 files")
    assert run("reshard", tmp_path / "m", "--tp", "4", "-o", tmp_path / "t4").returncode == 0
    back = run("reshard", tmp_path / "t4", "--to", "ckpt-0", "-o", tmp_path / "back")
    assert back.returncode == 0
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(tmp_path / "m" / "ckpt-0")


def test_commands_find_the_checkpoint_that_xais_readme_describes(tmp_path: Path) -> None:
    synthesize(tmp_path / "checkpoints")
    for arguments in (("verify",), ("inspect",), ("reshard", "--tp", "8")):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "using checkpoints/ckpt-0" in done.stderr
    assert (tmp_path / "grok-1-tp8" / "grokpack.json").exists()
    elsewhere = run("inspect", GROKPACK_CHECKPOINT=str(tmp_path / "checkpoints"))
    assert elsewhere.returncode == 0


def test_without_a_checkpoint_the_places_are_named_and_the_status_is_3(tmp_path: Path) -> None:
    done = run("verify", cwd=tmp_path)
    assert done.returncode == 3
    assert "error[GP201]" in done.stderr
    assert "checkpoints/ckpt-0" in done.stderr
    for repository in ("xai-org/grok-1 --include 'ckpt-0/*'", "xai-org/grok-2"):
        assert f"hf download {repository}" in done.stderr


def test_damage_ends_with_status_1_and_one_json_document(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "m")
    (source / "ckpt-0" / "tensor00004_000").unlink()
    done = run("verify", source, "--json", "--progress", "none")
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 1
    assert document["schema"] == "grokpack/verify/1"
    assert document["status"] == "damaged"
    assert [f["code"] for f in document["findings"]] == ["GP101"]
    assert done.stderr == ""


def test_an_incomplete_source_is_refused_by_what_needs_it_whole(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "m")
    (source / "ckpt-0" / "tensor00004_000").unlink()
    done = run("reshard", source, "--tp", "2", "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "error[GP202]" in done.stderr
    assert not (tmp_path / "out").exists()
    looked = run("inspect", source)
    assert looked.returncode == 0
    assert "NOT complete (25 of 26 files)" in looked.stdout


def test_inspecting_what_cannot_be_read_does_not_end_with_0(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "m")
    spoilt = source / "ckpt-0" / "tensor00004_000"  # of a layer's experts
    named = open_checkpoint(str(source)).tensors
    tensor = next(n for n in named if n.endswith("decoder_layer_0/moe/linear_v/w"))
    spoilt.write_bytes(spoilt.read_bytes()[:-100])
    done = run("inspect", source, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["status"] == "incomplete"
    assert [f["file"] for f in document["findings"]] == [spoilt.name]
    assert document["data"]["unread"] == []
    assert f"not read  {spoilt.name}: " in run("inspect", source, "--tree").stdout
    for status in (1, 1):
        looked = run("inspect", source, "decoder_layer_0/moe", "--stats")
        assert looked.returncode == status
        assert f"not read  {tensor}" in looked.stdout
        spoilt.unlink(missing_ok=True)  # a tensor that was asked for, whose file is not there
    alone = run("inspect", source, tensor)
    assert (alone.returncode, "GP202" in alone.stderr) == (3, True)
    out = tmp_path / "out.safetensors"
    assert run("inspect", source, "decoder_layer_0/moe", "--extract", out).returncode == 3
    assert not out.exists()


@pytest.mark.parametrize("command", ["verify", "inspect", "reshard"])
def test_a_hostile_pickle_ends_every_command_with_status_4(tmp_path: Path, command: str) -> None:
    source = synthesize(tmp_path / "m")
    canary = tmp_path / "canary"
    payload = f"touch {canary}".encode()
    (source / "ckpt-0" / "tensor00004_000").write_bytes(
        b"\x80\x04cposix\nsystem\n\x8c" + bytes([len(payload)]) + payload + b"\x85R."
    )
    out = ("-o", tmp_path / "out") if command == "reshard" else ()
    done = run(command, source, *out)
    assert done.returncode == 4
    assert "posix.system" in done.stdout + done.stderr
    assert not canary.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("--tp", "3"), 2, "GP301"),
        (("--tp", "16", "--to", "ckpt-0"), 2, "GP302"),
        (("--tp", "2", "--memory", "100MB"), 5, "GP312"),
        (("--tp", "2", "--memory", "lots"), 2, "GP346"),
        (("--tp", "2", "--scales", "none"), 2, "GP346"),
    ],
)
def test_refusals_have_statuses_and_json_carries_them(
    tmp_path: Path, arguments: tuple[str, ...], status: int, code: str
) -> None:
    source = synthesize(tmp_path / "m")
    done = run("reshard", source, *arguments, "-o", tmp_path / "out", "--json")
    assert done.returncode == status
    document = json.loads(done.stdout)
    assert document["errors"][0]["code"] == code
    assert f"error[{code}]" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_usage_error_has_the_envelope_too_where_json_is_asked_for() -> None:
    done = run("reshard", "--tp", "many", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["errors"][0]["code"] == "GP346"
    assert "--tp" in done.stderr
    plain = run("reshard", "--tq", "4")
    assert plain.returncode == 2
    assert plain.stdout == ""


def test_a_dry_run_shows_exact_bytes_and_writes_nothing(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "m")
    before = tree(tmp_path)
    planned = json.loads(
        run("reshard", source, "--tp", "2", "-o", tmp_path / "out", "-n", "--json").stdout
    )
    assert tree(tmp_path) == before
    run("reshard", source, "--tp", "2", "-o", tmp_path / "out")
    written = tree(tmp_path / "out")
    del written["grokpack.json"]
    assert planned["data"]["writes_bytes"] == sum(map(len, written.values()))


def test_the_full_geometry_as_holes_is_read_like_the_release(tmp_path: Path) -> None:
    done = run("synth", tmp_path / "g", "--preset", "grok-1", "--sparse")
    assert done.returncode == 0, done.stderr
    used = sum(p.stat().st_blocks for p in (tmp_path / "g").rglob("*")) * 512
    assert used < 64 << 20
    data = json.loads(run("inspect", tmp_path / "g", "--json").stdout)["data"]
    assert data["bytes"] == 318_239_886_140
    assert data["parameters"]["total"] == 315_684_820_992
    assert data["parameters"]["active"] == 83_756_587_008
    assert data["complete"]
    plan = json.loads(
        run("reshard", tmp_path / "g", "--tp", "8", "--json", "-n", "-o", tmp_path / "o").stdout
    )
    assert plan["errors"][0]["code"] == "GP311" or plan["data"]["writes_bytes"] > 318e9


def test_inspect_shows_offsets_and_extracts(tmp_path: Path) -> None:
    name = "decoder_layer_0/moe/linear_1/w"
    done = run("inspect", GOLDEN, name, "--offsets", "--extract", tmp_path / "x.safetensors")
    assert done.returncode == 0, done.stderr
    assert "one scale per 64 rows of a column" in done.stdout
    from safetensors.numpy import load_file

    arrays = load_file(tmp_path / "x.safetensors")
    assert arrays[f"transformer/{name}"].shape == (8, 512, 96)
    nothing = run("inspect", GOLDEN, "decoder_layer_9/*")
    assert nothing.returncode == 2
    assert "GP216" in nothing.stderr


def test_explain_help_and_version() -> None:
    assert "GP204" in run("explain", "gp204").stdout
    assert run("explain", "GP999").returncode == 2
    assert "130" in run("help", "exit-codes").stdout
    assert run("--version").stdout.startswith("grokpack ")
    assert run("frobnicate").returncode == 2


def test_the_library_has_the_names_of_the_readme(tmp_path: Path) -> None:
    import grokpack

    source = synthesize(tmp_path / "m")
    checkpoint = grokpack.open_checkpoint(str(source))
    plan = grokpack.plan_reshard(checkpoint, tp=2)
    assert grokpack.execute(plan, str(tmp_path / "out")).total_bytes == plan.target.layout.nbytes
    for name in grokpack.__all__:
        assert getattr(grokpack, name) is not None


def test_alone_it_shows_every_command_and_how_one_begins() -> None:
    done = run()
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("grokpack 0.")
    for command in ("verify", "inspect", "reshard", "synth", "explain", "help"):
        (line,) = [line for line in lines if line.startswith(f"  {command} ")]
        assert not line.endswith(("...", "."))
    assert any("grokpack inspect ckpt-0" in line for line in lines)
    assert run("help").stdout == done.stdout
    assert max(map(len, lines)) <= 100


def test_help_of_a_command_is_what_its_own_option_shows() -> None:
    assert run("help", "verify").stdout == run("verify", "--help").stdout
    assert run("help", "sideways").returncode == 2


def test_topics_name_every_status_and_every_variable_of_an_option() -> None:
    import typer

    from grokpack.cli.app import app
    from grokpack.core.exit_status import ExitStatus
    from grokpack.report.text.topics import ENVIRONMENT, TOPICS

    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    options = {p.envvar for command in commands for p in command.params if p.envvar}
    named = [name for name, _ in ENVIRONMENT]
    package = ROOT / "grokpack"
    sources = [p for p in package.rglob("*.py") if p.name != "topics.py"]
    code = "".join(p.read_text(encoding="utf-8") for p in sources)
    assert options <= set(named)
    assert [name for name in named if f'"{name}"' not in code] == []
    assert all(name in TOPICS["environment"] for name in named)
    assert all(str(int(status)) in TOPICS["exit-codes"] for status in ExitStatus)


def test_a_mistyped_tensor_or_folder_names_the_nearest(tmp_path: Path) -> None:
    synthesize(tmp_path / "model")
    mistyped = run("inspect", tmp_path / "model", "decoder_layer_1/moe/liner_1/w")
    assert "nearest  decoder_layer_1/moe/linear_1/w" in mistyped.stderr.splitlines()[1]
    assert run("inspect", tmp_path / "model", "routr/w").stderr.count("nearest") == 1
    assert f"did you mean `{tmp_path / 'model'}`?" in run("verify", tmp_path / "modell").stderr
    assert "hf download" in run("verify", tmp_path / "unlike").stderr


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [(("--format", "json"), ""), (("--format=json",), ""), ((), "json"), (("--json",), "")],
)
def test_each_way_to_ask_for_json_gets_it_for_a_usage_error_too(
    arguments: tuple[str, ...], variable: str
) -> None:
    done = run("reshard", "--tp", "many", *arguments, GROKPACK_FORMAT=variable)
    assert json.loads(done.stdout)["errors"][0]["code"] == "GP346"


def test_convert_says_what_it_wrote_and_each_output_can_be_looked_at(tmp_path: Path) -> None:
    model = tmp_path / "m"
    synthesize(model)
    for target, named in (
        (("gguf", "--type", "bf16", "--tokenizer", "none"), "m-bf16.gguf"),
        (("hf",), "m-hf"),
        (("hf", "--names", "keyfan", "--dtype", "f32"), "m-hf-keyfan-f32"),
        (("sglang", "--tp", "2"), "m-sglang-tp2"),
        (("safetensors",), "m-tp1"),
    ):
        done = run("convert", "m", "--to", *target, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"wrote {named}: ")
        assert ("config.json" in done.stdout) == (target[0] in ("hf", "sglang"))
        assert "rounded once" in done.stderr or "not lossless" in done.stderr or named == "m-tp1"
        assert run("verify", named, "--values", cwd=tmp_path).returncode == 0
        assert run("inspect", named, cwd=tmp_path).stdout.startswith(f"{named}: ")
        again = run("convert", "m", "--to", *target, cwd=tmp_path)
        assert again.stdout.startswith("already done")
        back = run("convert", named, "--to", "ckpt-0", "-o", f"{named}-ck", cwd=tmp_path)
        assert back.returncode == 0, back.stderr


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_the_program_starts_ends_it_quietly(
    tmp_path: Path, name: str, status: int
) -> None:
    script = f"""
import builtins, os, signal, sys
real = builtins.__import__
def watched(name, *rest, **named):
    if name == "typer":
        os.kill(os.getpid(), signal.{name})
    return real(name, *rest, **named)
from grokpack.__main__ import main
signal.signal(signal.{name}, signal.SIG_DFL)  # a shell's background job ignores SIGINT
builtins.__import__ = watched
sys.argv = ["grokpack", "inspect", "nothing"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
