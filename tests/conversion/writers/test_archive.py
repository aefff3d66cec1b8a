"""Archives: the same files, compressed; read in place by everything, and given back to the byte."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from typer.testing import CliRunner

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.cli.app import app
from grokpack.conversion import plan_quantize
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.writers.archive_writer import SeekableZstdCodec
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.formats import zstd_seekable
from grokpack.storage.reading import _LOCAL
from grokpack.verification.verify_structure import Verdict, verify_structure
from grokpack.verification.verify_values import verify_values
from tests.faults.crashing import Crash, counted, crash_after, each_or_some, places
from tests.support.checkpoints import GOLDEN, SMALL, reshard, synthesize, tree
from tests.support.conversions import WIDE, convert

SOURCES: dict[str, Callable[[Path, Path], object]] = {
    "xAI's own": lambda _, out: shutil.copytree(GOLDEN, out),
    "ckpt-0": shutil.copytree,
    "ckpt-0 on 2 hosts": lambda origin, out: reshard(
        origin, out, 8, "ckpt-0", hosts=2, forward_only=True
    ),
    "ranks": lambda origin, out: reshard(origin, out, 4),
    "hf": lambda origin, out: convert(origin, out, "hf"),
    "sglang": lambda origin, out: convert(origin, out, "sglang", tp=2),
    "split gguf": lambda origin, out: convert(
        origin, out, "gguf", type="q8_0", shard_bytes=1 << 19
    ),
}
"""Each makes a source of another kind."""


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    yield
    storage.faults.hook = None


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", WIDE, seed=2)


def unpacked(data: bytes) -> bytes:
    """What a compressed file stands for, by zstandard's own reader of streams."""
    decompressor = zstandard.ZstdDecompressor()
    with decompressor.stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
        return reader.read()


def weights(folder: Path) -> dict[str, bytes]:
    """Files of weights by their own name, whatever folder they are in; decompressed."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.name.removesuffix(".zst")
        if name.startswith("tensor") or name.endswith((".safetensors", ".gguf")):
            data = path.read_bytes()
            found[f"{path.parent.name if 'rank' in str(path) else ''}/{name}"] = (
                unpacked(data) if path.suffix == ".zst" else data
            )
    return found


@pytest.mark.parametrize("kind", SOURCES)
def test_an_archive_is_the_same_checkpoint_and_gives_it_back_to_the_byte(
    tmp_path: Path, origin: Path, kind: str
) -> None:
    source, archive, files = tmp_path / "m", tmp_path / "m-archive", tmp_path / "files"
    SOURCES[kind](origin, source)
    convert(source, archive, "archive")
    assert weights(archive) == weights(source)
    assert not [p for p in tree(archive) if p.endswith((".safetensors", ".gguf", "_000"))]
    plain, sealed = (open_checkpoint(str(path)) for path in (source, archive))
    assert sealed.identity() == plain.identity()
    assert sealed.format == plain.format
    assert sealed.sealed
    assert not plain.sealed
    verdict = verify_values(verify_structure(survey(str(archive))))
    assert verdict.whole
    assert not verdict.findings
    convert(archive, files, "files")
    assert weights(files) == weights(source)
    again = tmp_path / "again"
    convert(archive, again, "archive")
    assert weights_of(again) == weights_of(archive)
    small = {n: d for n, d in tree(source).items() if "json" in n and n != "grokpack.json"}
    for place in (archive, files):
        assert {name: tree(place)[name] for name in small} == small


def archive_in_small_frames(source: Path, out: Path) -> None:
    """An archive in which every file of more than a page has several frames."""
    plan = plan_convert(open_checkpoint(str(source)), "archive")
    execute(replace(plan, target=replace(plan.target, codec=SeekableZstdCodec(4093))), str(out))


def weights_of(archive: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(archive).items() if name.endswith(".zst")}


@pytest.mark.parametrize("kind", ["xAI's own", "ckpt-0", "ranks", "hf", "split gguf"])
@pytest.mark.parametrize("memory", [256 << 20, 1 << 30])
def test_whatever_is_made_of_an_archive_is_what_is_made_of_the_source(
    tmp_path: Path, origin: Path, kind: str, memory: int
) -> None:
    source, archive = tmp_path / "m", tmp_path / "m-archive"
    SOURCES[kind](origin, source)
    archive_in_small_frames(source, archive)
    for to in ("ckpt-0", "hf", "gguf"):
        if to == "gguf" and kind == "xAI's own":
            continue  # of no width that its blocks divide
        for path in (source, archive):
            out = tmp_path / f"{path.name}-{to}{memory}"
            options: dict[str, Any] = {"type": "bf16", "tokenizer": "none"} if to == "gguf" else {}
            plan = plan_convert(open_checkpoint(str(path)), to, ConvertOptions(**options))
            out = out / "x" if to == "gguf" else out
            execute(plan, str(out), RunOptions(memory_bytes=memory, workers=2))
        left, right = (tmp_path / f"{p.name}-{to}{memory}" for p in (source, archive))
        assert tree(left) == tree(right), to


def test_quantizing_and_resharding_read_an_archive_too(tmp_path: Path, origin: Path) -> None:
    archive = tmp_path / "m-archive"
    convert(origin, archive, "archive")
    for path in (origin, archive):
        reshard(path, tmp_path / f"{path.name}-tp2", 2)
        plan = plan_quantize.plan_quantize(
            open_checkpoint(str(path)), plan_quantize.QuantizeOptions(bits=4, group="32")
        )
        execute(plan, str(tmp_path / f"{path.name}-int4"))
    for end in ("tp2", "int4"):
        assert tree(tmp_path / f"m-{end}") == tree(tmp_path / f"m-archive-{end}")
    convert(tmp_path / "m-int4", tmp_path / "int4-archive", "archive")
    convert(tmp_path / "int4-archive", tmp_path / "int4-files", "files")
    assert weights(tmp_path / "int4-files") == weights(tmp_path / "m-int4")


def test_a_single_gguf_is_read_by_its_own_name_and_by_that_of_the_compressed_file(
    tmp_path: Path, origin: Path
) -> None:
    convert(origin, tmp_path / "x.gguf", "gguf", type="q8_0", embedding="f32")
    convert(tmp_path / "x.gguf", tmp_path / "archive", "archive")
    assert {"x.gguf.zst", "x.gguf.grokpack.json"} <= set(tree(tmp_path / "archive"))
    for name in ("archive", "archive/x.gguf", "archive/x.gguf.zst"):
        assert verify_structure(survey(str(tmp_path / name))).whole
        convert(tmp_path / name, tmp_path / "back", "ckpt-0")
        assert weights(tmp_path / "back") == weights(origin)
        shutil.rmtree(tmp_path / "back")


@pytest.mark.skipif(shutil.which("zstd") is None, reason="the zstd program is not installed")
def test_the_zstd_program_gives_the_files_back(tmp_path: Path, origin: Path) -> None:
    archive = tmp_path / "m-archive"
    convert(origin, archive, "archive")
    subprocess.run(
        ["zstd", "-d", "-q", "--rm", *map(str, archive.rglob("*.zst"))], check=True, cwd=tmp_path
    )
    assert weights(archive) == weights(origin)
    verdict = verify_structure(survey(str(archive)))
    assert verdict.whole  # against the sums of what the archive stood for
    file = archive / "ckpt-0" / "tensor00003_000"
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    assert [f.code for f in verify_structure(survey(str(archive))).findings] == ["GP110"]


def test_normal_weights_become_a_tenth_smaller(tmp_path: Path) -> None:
    geometry = replace(SMALL, vocab=64, d_model=512, ffn=2048, experts=2)
    source, archive = synthesize(tmp_path / "m", geometry), tmp_path / "m-archive"
    convert(source, archive, "archive")
    plain = sum(map(len, weights(source).values()))
    packed = sum(len(d) for n, d in tree(archive).items() if n.endswith(".zst"))
    assert 0.80 < packed / plain < 0.92


@each_or_some
def test_resume_after_a_crash_at_any_operation_gives_the_same_bytes(
    tmp_path: Path, most: int | None
) -> None:
    source = synthesize(tmp_path / "m", replace(SMALL, layers=1), seed=1)
    with counted() as operations:
        convert(source, tmp_path / "clean", "archive")
    expected = tree(tmp_path / "clean")
    for count in places(operations, most):
        out = tmp_path / f"crash{count}"
        plan = plan_convert(open_checkpoint(str(source)), "archive")
        crash_after(count)
        with pytest.raises(Crash):
            execute(plan, str(out), RunOptions(workers=1))
        storage.faults.hook = None
        if not (out / "grokpack.json").exists() and out.exists():
            with pytest.raises(GrokpackError) as caught:
                survey(str(out))
            assert caught.value.code in ("GP212", "GP201", "GP203")
        convert(source, out, "archive")
        assert tree(out) == expected, f"crashed at operation {count}"
        shutil.rmtree(out)


def test_a_source_that_changes_while_it_is_archived_publishes_nothing(
    tmp_path: Path, origin: Path
) -> None:
    source, out = tmp_path / "m", tmp_path / "m-archive"
    shutil.copytree(origin, source)
    file = source / "ckpt-0" / "tensor00005_000"

    def change(operation: str, path: str) -> None:
        if operation == "sync" and "tensor00001" in path:
            file.write_bytes(file.read_bytes()[:-1] + b"?")

    storage.faults.hook = change
    with pytest.raises(GrokpackError) as caught:
        convert(source, out, "archive")
    assert caught.value.code == "GP213"
    assert not (out / "grokpack.json").exists()


def damaged(archive: Path, file: str, change: Callable[[bytes], bytes]) -> Verdict:
    """The verdict, values and all, on an archive of which one file was changed."""
    path = archive / "ckpt-0" / f"{file}.zst"
    path.write_bytes(change(path.read_bytes()))
    return verify_values(verify_structure(survey(str(archive))))


LARGE = "tensor00002_000"
"""An expert's weights, of several frames."""


CHANGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut by a byte": (lambda data: data[:-1], "GP228"),
    "cut in half": (lambda data: data[: len(data) // 2], "GP228"),
    "no table": (lambda data: zstandard.ZstdCompressor().compress(unpacked(data)), "GP228"),
    "a lying table": (lambda data: data[:-9] + b"\xff\xff\xff\x7f" + data[-5:], "GP227"),
    "a broken header": (lambda data: b"?" + data[1:], "GP227"),
    "a changed frame": (lambda data: data[:200_000] + b"????" + data[200_004:], "GP227"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verify_names_the_file_that_is_damaged(tmp_path: Path, change: str) -> None:
    geometry = replace(SMALL, d_model=128, ffn=1024)
    source, archive = synthesize(tmp_path / "m", geometry), tmp_path / "m-archive"
    assert (source / "ckpt-0" / LARGE).stat().st_size > 250_000
    archive_in_small_frames(source, archive)
    made, code = CHANGES[change]
    verdict = damaged(archive, LARGE, made)
    assert not verdict.whole
    assert code in {f.code for f in verdict.findings if f.file == LARGE}
    assert {f.file for f in verdict.findings} == {LARGE}
    with pytest.raises(GrokpackError) as caught:
        convert(archive, tmp_path / "out", "ckpt-0")
    assert caught.value.code in ("GP202", "GP227")
    assert not (tmp_path / "out" / "grokpack.json").exists()


def test_a_changed_last_tile_is_found_without_reading_a_frame(tmp_path: Path, origin: Path) -> None:
    archive = tmp_path / "m-archive"
    convert(origin, archive, "archive")
    file = archive / "ckpt-0" / "tensor00003_000.zst"
    whole = unpacked(file.read_bytes())
    frame = zstandard.ZstdCompressor(9, write_checksum=True).compress(whole)
    file.write_bytes(frame + zstd_seekable.render([(len(whole), len(frame))]))
    found = verify_structure(survey(str(archive))).findings
    assert [f.code for f in found] in (["GP110"], ["GP112"])


def test_a_file_that_is_there_plain_and_compressed_is_read_plain_with_a_warning(
    tmp_path: Path, origin: Path
) -> None:
    archive = tmp_path / "m-archive"
    convert(origin, archive, "archive")
    name = "tensor00003_000"
    plain = (origin / "ckpt-0" / name).read_bytes()
    (archive / "ckpt-0" / name).write_bytes(plain)
    (archive / "ckpt-0" / f"{name}.zst").write_bytes(b"rubbish")
    verdict = verify_values(verify_structure(survey(str(archive))))
    assert verdict.whole
    assert [(f.code, f.file, f.severity) for f in verdict.findings] == [("GP114", name, "warning")]
    convert(archive, tmp_path / "back", "ckpt-0")
    assert weights(tmp_path / "back") == weights(origin)


def test_files_that_are_not_the_checkpoints_are_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.conversion.writers.files_writer.LIMIT_BYTES", 1 << 16)
    source = synthesize(tmp_path / "m")
    (source / "notes.txt").write_text("mine")
    (source / "ckpt-0" / "README").write_text("mine too")
    (source / ".cache").mkdir()
    (source / ".cache" / "x").write_text("nobody's")
    (source / "dataset.bin").write_bytes(random.Random(0).randbytes(1 << 17))
    plan = convert(source, tmp_path / "out", "archive")
    assert plan.target.notes == ("not of the checkpoint, left out: dataset.bin",)
    found = tree(tmp_path / "out")
    assert found["notes.txt"] == b"mine"
    assert found["ckpt-0/README"] == b"mine too"
    assert json.loads(found["source.grokpack.json"]) == json.loads(
        (source / "grokpack.json").read_bytes()
    )
    assert not [name for name in found if ".cache" in name or "dataset" in name]


def test_config_and_tokenizer_above_the_pickles_are_taken_along(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "ckpt-0", tmp_path / "m" / "ckpt-0")
    shutil.copy(GOLDEN / "config.json", tmp_path / "m")
    (tmp_path / "m" / "tokenizer.model").write_bytes(b"pieces")
    (tmp_path / "m" / "diary").write_text("mine")
    convert(tmp_path / "m", tmp_path / "out", "archive")
    found = tree(tmp_path / "out")
    assert found["config.json"] == (GOLDEN / "config.json").read_bytes()
    assert found["tokenizer.model"] == b"pieces"
    assert "diary" not in found


def test_the_command_line_says_that_the_size_is_a_bound_and_then_what_it_is(
    tmp_path: Path, origin: Path
) -> None:
    words = ["convert", str(origin), "--to", "archive", "-o", str(tmp_path / "out"), "--json"]
    runner = CliRunner()
    planned = json.loads(runner.invoke(app, [*words, "--dry-run", "--progress", "none"]).stdout)
    bound = planned["data"]["writes_bytes"]
    assert planned["data"]["encoding"]["name"] == "zstd seekable"
    text = runner.invoke(app, [*words[:-1], "--dry-run", "--progress", "none"]).stdout
    assert f"at most {bound:,} bytes" in text
    runner.invoke(app, [*words, "--progress", "none"])
    written = tree(tmp_path / "out")
    del written["grokpack.json"]
    assert sum(map(len, written.values())) < bound
    again = json.loads(runner.invoke(app, [*words, "--progress", "none"]).stdout)
    assert again["data"]["already_done"]


def test_looking_at_headers_decompresses_a_few_kilobytes_of_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = synthesize(tmp_path / "m", replace(SMALL, d_model=512, ffn=4096, layers=1))
    convert(source, tmp_path / "archive", "archive")
    decoded, decompress = [0], zstd_seekable.decompressor()

    def counted(frame: memoryview, buffer: memoryview) -> None:
        decoded[0] += len(buffer)
        decompress(frame, buffer)

    monkeypatch.setattr(_LOCAL._held, "decompress", counted)
    verdict = verify_structure(survey(str(tmp_path / "archive")))
    assert verdict.whole
    files = list((tmp_path / "archive" / "ckpt-0").iterdir())
    assert max(file.stat().st_size for file in files) > 3 << 20
    assert 0 < decoded[0] < len(files) * (16 << 10)
