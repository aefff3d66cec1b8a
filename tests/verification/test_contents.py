"""`verify --data`, `--against` and `manifest`: every flipped bit is found, and its place named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grokpack import storage
from grokpack.checkpoint import manifest_records
from grokpack.checkpoint.file_matching import match
from grokpack.checkpoint.manifest_records import Record
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.core.errors import GrokpackError, SourceUnreadable
from grokpack.core.layout import Box, FileLayout, Literal, Part
from grokpack.core.tensors import DType
from grokpack.core.tiles import TILE_BYTES, tile_count
from grokpack.verification import byte_ranges, sampling
from grokpack.verification.checksums import sha256_list
from grokpack.verification.external import check_against
from grokpack.verification.history import NEVER_CHECKED, FileHistory
from grokpack.verification.read_options import ReadOptions
from grokpack.verification.record_manifest import record
from grokpack.verification.verify_contents import check_contents
from grokpack.verification.verify_structure import Verdict, verify_structure, with_contents
from tests.support.checkpoints import reshard, synthesise
from tests.support.converting import WIDE, convert
from tests.support.forked import run

if TYPE_CHECKING:
    from grokpack.verification.sampling import Sample
    from grokpack.verification.verify_contents import ReadResult


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("made") / "model")


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    unread = shutil.ignore_patterns(".grokpack")  # what other tests have found out about it
    return Path(shutil.copytree(made, tmp_path / "model", ignore=unread))


def flip(path: Path, byte: int, bit: int = 0) -> None:
    """Flip a bit; size and modification time stay as they are, as on a disk that forgets."""
    before = path.stat()
    with path.open("r+b") as handle:
        handle.seek(byte)
        value = handle.read(1)[0]
        handle.seek(byte)
        handle.write(bytes([value ^ (1 << bit)]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def checked(folder: Path, share: Sample | None = None) -> ReadResult:
    found = survey(str(folder)).checkpoint
    assert found is not None
    own = manifest_records.own(found)
    assert own is not None
    return check_contents(found, own, ReadOptions(share or sampling.Sample()))


def verdict(folder: Path) -> Verdict:
    return with_contents(verify_structure(survey(str(folder))), checked(folder))


def bad(contents: ReadResult) -> set[tuple[str, str | None]]:
    return {(finding.code, finding.file) for finding in contents.findings}


def test_what_was_written_is_whole(model: Path) -> None:
    contents = checked(model)
    assert not contents.findings
    written = [*(model / "ckpt-0").iterdir(), model / "config.json"]
    assert contents.total_bytes == sum(path.stat().st_size for path in written)
    assert contents.read_bytes == contents.total_bytes
    assert contents.never_bytes == 0
    assert contents.all_bytes


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_flipped_bit_is_found_in_its_file(made: Path, data: st.DataObject) -> None:
    files = sorted((made / "ckpt-0").iterdir())
    path = data.draw(st.sampled_from(files))
    byte = data.draw(st.integers(0, path.stat().st_size - 1))
    bit = data.draw(st.integers(0, 7))
    flip(path, byte, bit)
    try:
        found = survey(str(made))
        structure = {f.file for f in found.findings if f.severity == "error"}
        named = {f.file for f in checked(made).findings} if found.checkpoint else set()
        assert path.name in structure | named
        assert named <= {path.name}
    finally:
        flip(path, byte, bit)


def test_a_flip_is_named_with_expert_and_row(model: Path) -> None:
    found = survey(str(model)).checkpoint
    assert found is not None
    name = "transformer/decoder_layer_1/moe/linear_1/w"
    expert, row = 1, 7
    piece = found.layout.pieces()[name][0]
    _, rows, columns = piece.box.shape
    flip(
        model / "ckpt-0" / piece.extent.path,
        piece.extent.offset + (expert * rows + row) * columns,
    )
    (finding,) = checked(model).findings
    assert (finding.code, finding.tensor) == ("GP110", name)
    assert finding.found is not None
    assert "1 of 1 tile: bytes 0 to" in finding.found
    assert "expert 0, row 0 to expert 1, row" in finding.found


def test_neighbouring_tiles_are_one_finding_and_others_are_their_own() -> None:
    shape = (4, 2048, 8192)  # 16 MiB an expert
    file = FileLayout("f", (Literal(b"h" * 100), Part("t/w", Box((4, 0, 0), shape), DType.I8)))
    assert byte_ranges.tensors(file, 0, 100) == []
    assert byte_ranges.describe_range(file, 0, 100) == ""
    assert byte_ranges.describe_range(file, 100, 100 + 8192) == "expert 4, row 0"
    assert (
        byte_ranges.describe_range(file, TILE_BYTES + 100, 2 * TILE_BYTES)
        == "expert 5, rows 0 to 2,047"
    )
    assert (
        byte_ranges.describe_range(file, 100, file.nbytes)
        == "expert 4, row 0 to expert 7, row 2,047"
    )
    scales = FileLayout("f", (Part("t/w/scales", Box((0, 8, 0), (2, 8, 4)), DType.BF16),))
    assert byte_ranges.describe_range(scales, 8, 24) == "scales: expert 0, groups 9 to 10"
    norms = FileLayout("f", tuple(Part(f"n{i}", Box((0,), (4,)), DType.F32) for i in range(5)))
    assert byte_ranges.describe_range(norms, 0, 4) == "element 0"
    text = "n0: elements 0 to 3; n1: elements 0 to 3; n2: elements 0 to 3; and 2 more"
    assert byte_ranges.describe_range(norms, 0, norms.nbytes) == text


def test_large_files_are_checked_tile_by_tile(tmp_path: Path) -> None:
    nbytes = 5 * TILE_BYTES + 1000
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(1000) * (nbytes // 1000) + b"x" * (nbytes % 1000))
    file = FileLayout("big.bin", (Part("t/w", Box((0, 0), (nbytes, 1)), DType.I8),))
    import xxhash

    data = path.read_bytes()
    tiles = [data[i : i + TILE_BYTES] for i in range(0, nbytes, TILE_BYTES)]
    sums = tuple(xxhash.xxh3_128_hexdigest(tile) for tile in tiles)
    own = manifest_records.Records("m", (Record(file, str(path), nbytes, sums),), (), ())
    model = open_checkpoint(str(synthesise(tmp_path / "any")))
    for byte in (TILE_BYTES, 2 * TILE_BYTES, nbytes - 1):
        flip(path, byte)
    found = [finding.found for finding in check_contents(model, own).findings]
    assert found == [
        "2 of 6 tiles: bytes 16,777,216 to 50,331,647 (rows 16,777,216 to 50,331,647)",
        f"1 of 6 tiles: bytes 83,886,080 to {nbytes - 1:,} (rows 83,886,080 to {nbytes - 1:,})",
    ]


def test_swapped_files_are_named_as_swapped_once(model: Path) -> None:
    gate, up = (model / "ckpt-0" / f"tensor0000{i}_000" for i in (2, 4))
    held = gate.read_bytes()
    gate.write_bytes(up.read_bytes())
    up.write_bytes(held)
    found = [(f.code, f.file) for f in verdict(model).findings]
    assert found == [("GP108", gate.name), ("GP108", up.name)]


def test_a_last_tile_is_one_finding_not_two(model: Path) -> None:
    flip(model / "ckpt-0" / "tensor00005_000", 1000)
    answer = verdict(model)
    assert [f.code for f in answer.findings] == ["GP110"]
    assert answer.checks["contents"] == "failed"
    assert answer.checks["structure"] == "ok"


def test_an_unreadable_file_is_a_finding_and_the_rest_is_read(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_into = storage.read_into

    def failing(path: str, offset: int, buffer: memoryview) -> None:
        if path.endswith("tensor00005_000"):
            raise SourceUnreadable("cannot be read: Input/output error")
        read_into(path, offset, buffer)

    found = survey(str(model)).checkpoint
    assert found is not None
    monkeypatch.setattr(storage, "read_into", failing)
    own = manifest_records.own(found)
    assert own is not None
    contents = check_contents(found, own)
    assert bad(contents) == {("GP117", "tensor00005_000")}
    assert contents.ended


@pytest.mark.parametrize("to", ["safetensors", "hf", "gguf", "zarr", "archive"])
def test_outputs_of_every_form_are_checked(tmp_path: Path, to: str) -> None:
    made = synthesise(tmp_path / "wide", WIDE)
    out = tmp_path / ("out.gguf" if to == "gguf" else "out")
    if to == "safetensors":
        reshard(made, out, 2)
    else:
        options = {"gguf": {"type": "q8_0"}}
        convert(made, out, to, **options.get(to, {}))
    assert not checked(out).findings
    own = manifest_records.own(open_checkpoint(str(out)))
    assert own is not None
    assert not own.unknown
    if to in ("hf", "zarr"):
        assert own.companions
    largest = max((Path(known.path) for known in own.files), key=lambda path: path.stat().st_size)
    flip(largest, largest.stat().st_size // 2)
    found = survey(str(out))
    structure = {f.code for f in found.findings if f.severity == "error"}
    assert structure or {f.code for f in checked(out).findings} == {"GP110"}


def test_small_files_beside_are_checked_too(model: Path) -> None:
    flip(model / "config.json", 5)
    assert bad(checked(model)) == {("GP110", "../config.json")}
    (model / "config.json").write_text("{}")
    assert bad(checked(model)) == {("GP112", "../config.json")}
    (model / "config.json").unlink()
    assert bad(checked(model)) == {("GP101", "../config.json")}


def test_a_manifest_leads_nowhere_outside_its_folder(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    path = model / "grokpack.json"
    document = json.loads(path.read_text())
    document["finals"]["../mine"] = {"bytes": 4, "tiles": "0" * 32}
    path.write_text(json.dumps(document))
    assert not checked(model).findings


# Which part is read.


def table(*sizes: int) -> list[Record]:
    return [
        Record(FileLayout(f"f{i}", ()), f"f{i}", n, ("x",) * tile_count(n))
        for i, n in enumerate(sizes)
    ]


def tiles(chosen: list[sampling.Stretch]) -> list[tuple[str, int]]:
    return [(s.record.path, tile) for s in chosen for tile in range(s.first, s.last)]


SIZES = st.lists(st.integers(0, 40 * TILE_BYTES), min_size=1, max_size=6)


@given(SIZES, st.integers(1, 12))
def test_slices_cover_everything_once(sizes: list[int], of: int) -> None:
    files = table(*sizes)
    known = {r.path: FileHistory([NEVER_CHECKED] * len(r.tiles)) for r in files}
    parts = [
        tiles(sampling.choose(files, known, sampling.Sample(part=(n, of)), 1e9))
        for n in range(1, of + 1)
    ]
    every = tiles(sampling.choose(files, known, sampling.Sample(), 1e9))
    assert sorted(tile for part in parts for tile in part) == sorted(every)
    assert len(every) == sum(map(tile_count, sizes))


@given(SIZES, st.floats(0.01, 1))
def test_a_share_again_and_again_comes_round(sizes: list[int], fraction: float) -> None:
    files = table(*sizes)
    known = {r.path: FileHistory([NEVER_CHECKED] * len(r.tiles)) for r in files}
    every = sum(map(tile_count, sizes))
    share, now, turns = sampling.Sample(fraction=fraction), 1000, 0
    while any(NEVER_CHECKED in k.good for k in known.values()):
        turns += 1
        chosen = tiles(sampling.choose(files, known, share, now))
        again = any(known[path].good[tile] != NEVER_CHECKED for path, tile in chosen)
        for path, tile in chosen:
            known[path].note(tile, now, good=True)
        assert not (again and any(NEVER_CHECKED in k.good for k in known.values()))
        now += 1
    assert turns <= every


def test_what_was_bad_is_read_again_whatever_is_chosen() -> None:
    files = table(10 * TILE_BYTES)
    known = {"f0": FileHistory([NEVER_CHECKED] * 10, {9})}
    assert ("f0", 9) in tiles(sampling.choose(files, known, sampling.Sample(part=(1, 10)), 1e9))
    assert ("f0", 9) in tiles(sampling.choose(files, known, sampling.Sample(nbytes=1), 1e9))


@pytest.mark.parametrize(
    ("age", "read"),
    [(10, False), (100, False), (101, True), (-5, True)],  # -5: from a clock that was wrong
)
def test_max_age_leaves_out_what_is_young_but_not_what_is_of_the_future(
    age: int, read: bool
) -> None:
    known = {"f0": FileHistory([1000 - age])}
    share = sampling.Sample(max_age_s=100)
    assert bool(tiles(sampling.choose(table(5), known, share, 1000))) is read


# What is remembered.


def test_results_are_remembered_until_the_file_changes(model: Path) -> None:
    checked(model)
    young = sampling.Sample(max_age_s=3600)
    assert checked(model, young).read_bytes == 0
    path = model / "ckpt-0" / "tensor00005_000"
    os.utime(path, ns=(0, 0))
    assert checked(model, young).read_bytes == path.stat().st_size


def test_what_was_bad_is_remembered_as_bad(model: Path) -> None:
    path = model / "ckpt-0" / "tensor00005_000"
    flip(path, 1000)
    young = sampling.Sample(max_age_s=3600)
    assert bad(checked(model)) == {("GP110", path.name)}
    assert bad(checked(model, young)) == {("GP110", path.name)}
    flip(path, 1000)
    assert not checked(model, young).findings
    assert checked(model, young).read_bytes == 0


def test_a_damaged_tile_was_read(model: Path) -> None:
    flip(model / "ckpt-0" / "tensor00005_000", 1000)
    contents = checked(model)
    assert (contents.never_bytes, contents.all_bytes) == (0, True)
    young = checked(model, sampling.Sample(max_age_s=3600))
    assert young.never_bytes == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "grokpack/checked/1", "files": {"tensor00005_000": 7}}']
)
def test_a_broken_memory_is_no_memory(model: Path, text: str) -> None:
    checked(model)
    (model / ".grokpack" / "checked.json").write_text(text)
    contents = checked(model, sampling.Sample(max_age_s=3600))
    assert contents.read_bytes == contents.total_bytes


def test_a_memory_of_other_checksums_is_none(model: Path) -> None:
    checked(model)
    path = model / "grokpack.json"
    document = json.loads(path.read_text())
    row = document["files"]["ckpt-0/tensor00005_000"]
    row["tiles"] = row["tiles"][::-1]
    path.write_text(json.dumps(document))
    contents = checked(model, sampling.Sample(max_age_s=3600))
    assert bad(contents) == {("GP110", "tensor00005_000")}


def test_stopping_keeps_what_was_found(model: Path) -> None:
    found = open_checkpoint(str(model))
    own = manifest_records.own(found)
    assert own is not None
    asked = iter([False] * 5 + [True] * 100)
    contents = check_contents(found, own, ReadOptions(stopping=lambda: next(asked), workers=1))
    assert not contents.ended
    assert 0 < contents.read_bytes < contents.total_bytes
    rest = checked(model, sampling.Sample(max_age_s=3600))
    assert rest.read_bytes == contents.total_bytes - contents.read_bytes


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_where_nothing_can_be_written_the_cache_remembers(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _in_a_cache(model, monkeypatch, tmp_path)


def test_where_a_folder_counts_as_read_only_the_cache_remembers(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(storage, "is_writable", lambda _path: False)
    _in_a_cache(model, monkeypatch, tmp_path)


def _in_a_cache(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (model / "grokpack.json").unlink()
    mode = model.stat().st_mode
    for folder in (model, model / "ckpt-0"):
        folder.chmod(0o555)
    try:
        made = record(open_checkpoint(str(model)))
        assert Path(made.path).is_relative_to(tmp_path / "cache")
        assert not checked(model).findings
        assert checked(model, sampling.Sample(max_age_s=3600)).read_bytes == 0
    finally:
        for folder in (model, model / "ckpt-0"):
            folder.chmod(mode)
    assert not (model / ".grokpack").exists()


# Truth from outside.


def listing(folder: Path, *options: str) -> str:
    names = sorted(path.name for path in folder.iterdir())
    done = subprocess.run(
        ["sha256sum", *options, *names], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.parametrize("options", [(), ("--binary",), ("--tag",)])
@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils has it")
def test_lists_of_sha256sum_are_read_in_all_its_forms(
    model: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    sums = tmp_path / "SHA256SUMS"
    sums.write_text("# by hand\n\n" + listing(model / "ckpt-0", *options))
    assert not check_against(open_checkpoint(str(model)), str(sums)).findings
    flip(model / "ckpt-0" / "tensor00005_000", 1000)
    found = check_against(open_checkpoint(str(model)), str(sums)).findings
    assert [(f.code, f.file) for f in found] == [("GP110", "tensor00005_000")]


FORMS = [
    "{sum}  {name}\n",
    "{sum} *{name}\n",
    "{sum} {name}\n",
    "{sum}\t{name}\n",
    "  {sum}  {name}\n",
    "\t{sum} *{name}\n",
    "{sum}  {name}\r\n",
    "{upper}  {name}\n",
    "{sum}  ./{name}\n",
    "{sum}  .//{name}\n",
    "\\{sum}  {name}\n",
    "SHA256 ({name}) = {sum}\n",
    "SHA256({name})= {upper}\n",
    " SHA256 ({name})={sum}\r\n",
    "\\SHA256 ({name}) = {sum}\n",
    "# a comment\n\n{sum}  {name}\n",
    "{sum}  {name}",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils has it")
def test_every_form_that_sha256sum_takes_is_taken(tmp_path: Path, form: str) -> None:
    """Names with spaces, brackets and signs of the forms themselves; by another program first."""
    for name in ("tensor00000_000", "a b", "x) = y", "(z"):
        (tmp_path / name).write_text(name)
        value = hashlib.sha256(name.encode()).hexdigest()
        sums = tmp_path / "sums"
        sums.write_bytes(form.format(sum=value, upper=value.upper(), name=name).encode())
        done = subprocess.run(
            ["sha256sum", "-c", sums], check=False, cwd=tmp_path, capture_output=True
        )
        assert done.returncode == 0
        assert {os.path.normpath(n): s for n, s in sha256_list.read(str(sums)).items()} == {
            name: value
        }


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils has it")
@pytest.mark.parametrize("options", [[], ["--tag"], ["--zero"], ["--binary"]])
def test_names_of_any_characters_come_back_as_they_are(tmp_path: Path, options: list[str]) -> None:
    names = ["a\nb", "c\\d", "e\rf", "g\u2028h\x0bi", "*j", "k "]
    for name in names:
        (tmp_path / name).write_text(name)
    made = subprocess.run(
        ["sha256sum", *options, *names], cwd=tmp_path, check=True, capture_output=True
    )
    (tmp_path / "sums").write_bytes(made.stdout)
    assert list(sha256_list.read(str(tmp_path / "sums"))) == names


@pytest.mark.parametrize("data", [b"\n" * (8 << 20), b"a" * (8 << 20), b"\0" * (8 << 20)])
def test_a_list_of_nothing_costs_no_more_than_a_part_of_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "sums").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(GrokpackError) as caught:
            sha256_list.read(str(tmp_path / "sums"))
        assert caught.value.code == "GP230"
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data) + (40 << 20)
    finally:
        tracemalloc.stop()


def test_names_of_a_list_may_begin_above_the_folder(model: Path, tmp_path: Path) -> None:
    sums = tmp_path / "sums"
    rows = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./grok-1/ckpt-0/{path.name}\n"
        for path in (model / "ckpt-0").iterdir()
    ]
    sums.write_text("".join(rows))
    contents = check_against(open_checkpoint(str(model)), str(sums))
    assert not contents.findings
    assert contents.all_bytes


def test_files_that_one_side_lacks_are_said(model: Path, tmp_path: Path) -> None:
    text = listing(model / "ckpt-0").splitlines(keepends=True)
    sums = tmp_path / "sums"
    sums.write_text("".join(text[1:]) + f"{'0' * 64}  tensor00099_000\n{'0' * 64}  README.md\n")
    found = check_against(open_checkpoint(str(model)), str(sums)).findings
    assert {(f.code, f.file, f.severity) for f in found} == {
        ("GP101", "tensor00099_000", "error"),
        ("GP118", None, "warning"),
    }


def test_a_manifest_from_elsewhere_is_believed(model: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.json"
    (model / "grokpack.json").rename(theirs)
    flip(model / "ckpt-0" / "tensor00005_000", 1000)
    record(open_checkpoint(str(model)))  # records the damage
    assert not checked(model).findings
    found = check_against(open_checkpoint(str(model)), str(theirs)).findings
    assert [(f.code, f.file) for f in found] == [("GP110", "tensor00005_000")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "GP230"),
        ("hello\n", "GP230"),
        ("abc  tensor00000_000\n", "GP230"),
        (f"{'0' * 64}  x\n{'1' * 64}  x\n", "GP230"),
        (f"{'0' * 64}  elsewhere/other.bin\n", "GP230"),
        ("{}", "GP209"),
        ('{"schema": "grokpack/manifest/1", "files": {}}', "GP230"),
    ],
)
def test_what_is_no_list_of_these_files_is_refused(
    model: Path, tmp_path: Path, text: str, code: str
) -> None:
    path = tmp_path / "sums"
    path.write_text(text)
    with pytest.raises(GrokpackError) as caught:
        check_against(open_checkpoint(str(model)), str(path))
    assert caught.value.code == code


def test_an_escaped_name_is_the_name(tmp_path: Path) -> None:
    path = tmp_path / "sums"
    path.write_text(f"\\{'a' * 64}  a\\nb\\\\c\n")
    assert sha256_list.read(str(path)) == {"a\nb\\c": "a" * 64}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["ckpt-0/t1", "other/t1"], "ckpt-0/t1"),
        (["a/b/ckpt-0/t1", "a/b/x/t2"], "a/b/ckpt-0/t1"),
        (["t1"], "t1"),
        (["a/t1", "b/t1"], None),
        (["at1"], None),
        (["../t1"], "../t1"),  # a name is compared, never opened
    ],
)
def test_names_mean_files_only_where_they_must(names: list[str], found: str | None) -> None:
    expected = {} if found is None else {"t1": found}
    assert match(["t1"], {name: name for name in names}, "ckpt-0/") == expected


# Manifests for what has none.


def test_a_manifest_has_what_a_second_implementation_computes(model: Path) -> None:
    import xxhash

    (model / "grokpack.json").unlink()
    made = record(open_checkpoint(str(model)), sha256=True)
    document = json.loads(Path(made.path).read_text())
    assert len(document["files"]) == made.files
    for name, row in document["files"].items():
        data = (model / "ckpt-0" / name).read_bytes()
        assert row["bytes"] == len(data)
        assert row["tiles"] == "".join(
            xxhash.xxh3_128(data[i : i + TILE_BYTES]).hexdigest()
            for i in range(0, len(data), TILE_BYTES)
        )
        assert row["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_manifest_says_the_same_as_the_one_that_writing_made(model: Path) -> None:
    written = json.loads((model / "grokpack.json").read_text())["files"]
    (model / "grokpack.json").unlink()
    made = json.loads(Path(record(open_checkpoint(str(model))).path).read_text())["files"]
    assert {f"ckpt-0/{name}": row for name, row in made.items()} == written


def test_no_manifest_is_replaced(model: Path, tmp_path: Path) -> None:
    before = (model / "grokpack.json").read_bytes()
    with pytest.raises(GrokpackError) as caught:
        record(open_checkpoint(str(model)))
    assert caught.value.code == "GP327"
    assert (model / "grokpack.json").read_bytes() == before
    record(open_checkpoint(str(model)), str(tmp_path / "other.json"))
    assert not check_against(open_checkpoint(str(model)), str(tmp_path / "other.json")).findings


def test_a_manifest_of_files_from_elsewhere_lets_nobody_discard_them(
    model: Path, tmp_path: Path
) -> None:
    source = model / "ckpt-0"
    (model / "grokpack.json").unlink()
    record(open_checkpoint(str(source)))
    other = synthesise(tmp_path / "other")
    held = sorted(path.name for path in source.iterdir())
    done = run("reshard", other, "--tp", "2", "-o", source, "--restart")
    assert done.returncode == 5
    assert sorted(path.name for path in source.iterdir() if path.name != ".grokpack") == held


# The command line.


def answer(*arguments: Any) -> tuple[int, dict[str, Any]]:
    done = run(*arguments, "--json", "--progress", "none")
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document


def test_the_command_says_how_much_it_read(model: Path) -> None:
    status, document = answer("verify", model, "--data")
    assert (status, document["status"]) == (0, "whole")
    contents = document["data"]["contents"]
    assert contents["read_bytes"] == contents["total_bytes"] > 0
    assert document["data"]["checks"]["contents"] == "ok"
    status, document = answer("verify", model, "--data", "--subset", "1/4")
    assert document["data"]["checks"]["contents"] == "partial"
    assert document["data"]["contents"]["read_bytes"] < contents["total_bytes"]


def test_damage_is_exit_status_one(model: Path) -> None:
    flip(model / "ckpt-0" / "tensor00005_000", 1000)
    status, document = answer("verify", model, "--data")
    assert (status, document["status"]) == (1, "damaged")
    assert [f["file"] for f in document["findings"]] == ["tensor00005_000"]


def test_a_deadline_is_exit_status_75_until_the_round_is_complete(model: Path) -> None:
    status, document = answer("verify", model, "--data", "--max-duration", "0")
    assert (status, document["status"]) == (75, "unfinished")
    status, document = answer("verify", model, "--data", "--max-duration", "1h", "--max-age", "1d")
    assert (status, document["status"]) == (0, "whole")


def test_without_a_manifest_there_is_nothing_to_compare_with(model: Path) -> None:
    (model / "grokpack.json").unlink()
    status, document = answer("verify", model, "--data")
    assert status == 3
    assert document["errors"][0]["code"] == "GP229"
    assert answer("manifest", model)[0] == 0
    assert answer("verify", model, "--data")[0] == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--subset", "5%"),
        ("--max-age", "1d"),
        ("--data", "--subset", "0/4"),
        ("--data", "--subset", "5/4"),
        ("--data", "--subset", "0%"),
        ("--data", "--subset", "101%"),
        ("--data", "--subset", "x%"),
        ("--data", "--subset", "some"),
        ("--data", "--max-age", "long"),
    ],
)
def test_options_that_mean_nothing_are_refused(model: Path, options: tuple[str, ...]) -> None:
    status, document = answer("verify", model, *options)
    assert status == 2
    assert document["errors"][0]["code"] == "GP304"


def test_a_share_of_whole_sums_is_refused(model: Path, tmp_path: Path) -> None:
    sums = tmp_path / "sums"
    sums.write_text(listing(model / "ckpt-0"))
    status, document = answer("verify", model, "--against", sums, "--subset", "1/2")
    assert status == 2
    assert "part of a file" in document["errors"][0]["message"]


def test_a_verdict_without_contents_is_as_before(model: Path) -> None:
    answer_ = verify_structure(survey(str(model)))
    assert replace(answer_, contents=None) == answer_
