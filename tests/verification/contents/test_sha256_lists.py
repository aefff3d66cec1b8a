"""Lists of sha256sum, in all their forms, and the files that they name."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from grokpack.checkpoint.list_matching import match
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.core.errors import GrokpackError
from grokpack.verification.checksum_lists import sha256_list
from grokpack.verification.external_checksums import check_against
from grokpack.verification.record_manifest import record
from tests.support.content_checks import checked, flip, listing


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
