"""`verify --against` what a torrent says of the files."""

from __future__ import annotations

import hashlib
import random
import re
from pathlib import Path
from typing import Any

import fastbencode  # type: ignore[import-untyped, unused-ignore]
import pytest
import torf
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError
from grokpack.formats.bencode import Document
from grokpack.verification.checksum_lists import torrent
from tests.support.content_checks import flip
from tests.support.verify_against import codes, verified


def make_torrent(folder: Path, out: Path, piece_bytes: int = 16384) -> torf.Torrent:
    """By another program."""
    made = torf.Torrent(folder, piece_size=piece_bytes, piece_size_min=16384)
    made.generate()
    made.write(out)
    return made


@pytest.fixture(scope="module")
def of_made(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("torrents") / "model.torrent"
    make_torrent(made, out)
    return out


def test_pieces_say_that_files_are_whole(model: Path, of_made: Path) -> None:
    found = verified(model, of_made)
    assert (found["status"], codes(found)) == ("whole", [])
    parsed = torrent.read(str(of_made))
    other = torf.Torrent.read(of_made)
    assert parsed.info_hash == other.infohash
    assert [(f.path, f.nbytes) for f in parsed.files] == [
        ("/".join(Path(f).parts[1:]), f.size) for f in other.files
    ]


def test_each_flipped_bit_is_in_a_piece_that_is_named(model: Path, of_made: Path) -> None:
    chance = random.Random(1)
    for path in chance.sample(sorted((model / "ckpt-0").iterdir()), 8):
        byte = chance.randrange(path.stat().st_size)
        flip(path, byte)
        found = verified(model, of_made)
        assert found["exit_code"] == 1
        named = [
            row for row in found["findings"] if (row["code"], row["file"]) == ("GP110", path.name)
        ]
        ranges = [re.search(r"bytes ([\d,]+) to ([\d,]+)", row["found"]) for row in named]
        ends = [[int(n.replace(",", "")) for n in r.groups()] for r in ranges if r]
        assert any(first <= byte <= last for first, last in ends), (byte, named)
        flip(path, byte)


def test_what_cannot_be_judged_is_said(model: Path, of_made: Path) -> None:
    (model / "ckpt-0" / "tensor00004_000").unlink()
    found = verified(model, of_made)
    assert {"GP101", "GP118"} <= set(codes(found))
    left = next(row for row in found["findings"] if row["code"] == "GP118")
    assert "pieces cannot be judged" in left["message"]
    (model / "config.json").write_text("{}", encoding="utf-8")
    assert "GP112" in codes(verified(model, of_made))


def test_shares_are_refused(model: Path, of_made: Path) -> None:
    found = verified(model, of_made, "--subset", "1/2")
    assert found["errors"][0]["code"] == "GP304"


def info(**changes: Any) -> bytes:
    whole: dict[bytes, Any] = {
        b"name": b"m",
        b"piece length": 1 << 14,
        b"pieces": b"\0" * 20,
        b"files": [{b"length": 10, b"path": [b"ckpt-0", b"tensor00000_000"]}],
    }
    for name, value in changes.items():
        key = name.replace("_", " ").encode()
        whole[key] = value
        if value is None:
            del whole[key]
    return bytes(
        fastbencode.bencode(  # type: ignore[attr-defined]
            {b"info": whole}
        )
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a torrent",
        b"l" * 200_000 + b"e" * 200_000,
        b"d4:infoi5ee",
        b"d4:info" + b"9" * 30 + b":x",
        info(pieces=None),
        info(pieces=b"\0" * 19),
        info(pieces=b"\0" * 40),
        info(pieces=5),
        info(piece_length=0),
        info(piece_length=1 << 40),
        info(piece_length=b"a"),
        info(name=5),
        info(name=b".."),
        info(files=[]),
        info(files=[{b"length": -1, b"path": [b"a"]}]),
        info(files=[{b"length": 1 << 70, b"path": [b"a"]}]),
        info(files=[{b"length": 0, b"path": [b"a"]}]),
        info(files=[{b"length": 10, b"path": []}]),
        info(files=[{b"length": 10, b"path": [b"..", b"a"]}]),
        info(files=[{b"length": 10, b"path": [b"/etc/passwd"]}]),
        info(files=[{b"length": 10, b"path": [b"a\\b"]}]),
        info(files=[{b"length": 10, b"path": b"abc"}]),
        info(files=[{b"path": [b"a"]}]),
        info(files=[5]),
        info(files=None),
    ],
)
def test_hostile_torrents_are_refused(model: Path, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "hostile.torrent"
    path.write_bytes(data)
    found = verified(model, path)
    assert [row["code"] for row in found["errors"]] == ["GP230"]


@pytest.mark.parametrize("kind", ["BEP 47", "BitComet"])
def test_padding_is_zeros(model: Path, tmp_path: Path, kind: str) -> None:
    """As programs write it that align files to pieces."""
    names = sorted(p.name for p in (model / "ckpt-0").iterdir())
    rows, stream = [], b""
    for name in names:
        data = (model / "ckpt-0" / name).read_bytes()
        rows.append({b"length": len(data), b"path": [b"ckpt-0", name.encode()]})
        pad = -len(data) % (1 << 14)
        if kind == "BEP 47":
            rows.append({b"length": pad, b"path": [b".pad", str(pad).encode()], b"attr": b"p"})
        elif pad:
            last = f"_____padding_file_{len(rows)}_if you see this file, please update____"
            rows.append({b"length": pad, b"path": [last.encode()]})
        stream += data + bytes(pad)
    pieces = pieces_of(stream)
    path = tmp_path / "padded.torrent"
    path.write_bytes(info(files=rows, pieces=pieces))
    assert verified(model, path)["status"] == "whole"
    flip(model / "ckpt-0" / names[3], 300)
    found = verified(model, path)
    assert [row["file"] for row in found["findings"]] == [names[3]]


@pytest.mark.parametrize("name", ["song.ogg", "ckpt-0/tensor00900_000"])
def test_a_torrent_of_something_else_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "other" / name
    other.parent.mkdir(parents=True)
    other.write_bytes(b"x" * 40_000)
    make_torrent(tmp_path / "other", tmp_path / "o.torrent")
    found = verified(model, tmp_path / "o.torrent")
    assert (found["exit_code"], found["errors"][0]["code"]) == (3, "GP230")


def pieces_of(stream: bytes) -> bytes:
    parts = (stream[at : at + (1 << 14)] for at in range(0, len(stream), 1 << 14))
    return b"".join(hashlib.sha1(part).digest() for part in parts)  # noqa: S324


def test_a_torrent_of_which_no_piece_can_be_judged_is_no_answer(
    model: Path, tmp_path: Path
) -> None:
    """One piece, and a file in it that is no tensor was not fetched."""
    data = (model / "ckpt-0" / "tensor00001_000").read_bytes()
    rows = [
        {b"length": len(data), b"path": [b"ckpt-0", b"tensor00001_000"]},
        {b"length": 5, b"path": [b"NOTES"]},
    ]
    path = tmp_path / "one.torrent"
    path.write_bytes(info(files=rows, pieces=pieces_of(data + b"notes")))
    found = verified(model, path)
    assert (found["exit_code"], found["errors"][0]["code"]) == (3, "GP230")


def test_what_a_torrent_does_not_name_was_not_compared(model: Path, tmp_path: Path) -> None:
    data = (model / "ckpt-0" / "tensor00001_000").read_bytes()
    path = tmp_path / "one.torrent"
    path.write_bytes(
        info(
            files=[{b"length": len(data), b"path": [b"ckpt-0", b"tensor00001_000"]}],
            pieces=pieces_of(data),
        )
    )
    found = verified(model, path)
    assert (found["exit_code"], found["data"]["checks"]["contents"]) == (0, "partial")
    assert "GP118" in codes(found)
    assert found["data"]["contents"]["read_bytes"] == len(data)


@pytest.mark.parametrize("form", ["newline", "order", "no suffix", "utf-8"])
def test_torrents_that_clients_take_are_taken(model: Path, tmp_path: Path, form: str) -> None:
    """Bytes behind it, keys out of order: the info-hash is that of the bytes as they are."""
    rows, stream = [], b""
    for file in sorted((model / "ckpt-0").iterdir()):
        row: dict[bytes, Any] = {b"length": file.stat().st_size}
        row[b"path"] = [b"ckpt-0", file.name.encode()]
        if form == "utf-8":
            row = {**row, b"path": [b"\xff"], b"path.utf-8": row[b"path"]}
        rows.append(row)
        stream += file.read_bytes()
    data = info(files=rows, pieces=pieces_of(stream))
    inner = data[len(b"d4:info") : -1]
    if form == "order":
        name = b"4:name1:m"
        inner = b"d" + name + inner.replace(name, b"", 1)[1:]
        data = b"d4:info" + inner + b"8:announce1:xe"
    if form == "newline":
        data += b"\n"
    path = tmp_path / ("list" if form == "no suffix" else "m.TORRENT")
    path.write_bytes(data)
    assert verified(model, path)["status"] == "whole"
    digest = hashlib.sha1(inner).hexdigest()  # noqa: S324
    assert torrent.read(str(path)).info_hash == digest


@pytest.mark.parametrize(
    "data",
    [
        b"d4:infol" + b"de" * (1 << 20) + b"ee",
        b"d4:infol" + b"0:" * (1 << 20) + b"ee",
        b"d4:info" + b"l" * (8 << 20),
        b"d" + b"".join(b"7:%07di0e" % n for n in range(1 << 18)),
    ],
    ids=["dictionaries", "strings", "nested", "keys"],
)
def test_a_torrent_of_nothing_is_refused_before_it_costs_anything(
    tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "hostile.torrent"
    path.write_bytes(data)
    with pytest.raises(GrokpackError, match="than a torrent has") as caught:
        torrent.read(str(path))
    assert caught.value.code == "GP230"


VALUES = st.recursive(
    st.integers(-(1 << 60), 1 << 60) | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.binary(max_size=5), VALUES, max_size=4), st.binary(max_size=5))
def test_bencoding_is_read_as_another_program_writes_it(
    values: dict[bytes, Any], behind: bytes
) -> None:
    data = fastbencode.bencode(values)  # type: ignore[attr-defined]
    document = Document(data + behind)
    assert document.values == values
    for key, value in values.items():
        assert document.encoded(key) == fastbencode.bencode(value)  # type: ignore[attr-defined]
    for stop in range(len(data)):
        with pytest.raises(ValueError, match=r"value|dictionary"):
            Document(data[:stop])
