"""The seekable format of zstd: read in any order, written for any reader, believed in nothing."""

from __future__ import annotations

import io
import os
import random
import struct
import tracemalloc
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.formats import zstd_seekable
from grokpack.formats.zstd_seekable import LARGEST_FRAME_BYTES

TAME = ("GP213", "GP214", "GP227", "GP228")
"""What a compressed file that is damaged, or made to deceive, may end in."""


STAMPS = count(1)


def frame(data: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(1, write_checksum=True, **options).compress(data)


def streamed(data: bytes) -> bytes:
    """A frame that does not say what it stands for, as programs write that compress a stream."""
    compressor = zstandard.ZstdCompressor(1).compressobj()
    return compressor.compress(data) + compressor.flush()


def skippable(data: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50, len(data)) + data


def table(rows: list[tuple[int, int]], *, sums: bool = False) -> bytes:
    """The last frame by the specification: compressed size, decompressed size, checksum."""
    entries = b"".join(struct.pack("<II", *row) + bytes(4 * sums) for row in rows)
    footer = struct.pack("<IBI", len(rows), 0x80 * sums, 0x8F92EAB1)
    return struct.pack("<II", 0x184D2A5E, len(entries) + len(footer)) + entries + footer


def write_frames(
    path: Path, pieces: list[bytes], *, sums: bool = False, make: Any = frame
) -> bytes:
    """Write `path`.zst with a frame for each piece; what it stands for."""
    frames = [make(piece) if piece else skippable(b"between") for piece in pieces]
    rows = [(len(f), len(p)) for f, p in zip(frames, pieces, strict=True)]
    Path(f"{path}.zst").write_bytes(b"".join(frames) + table(rows, sums=sums))
    return b"".join(pieces)


def read(path: Path, offset: int, nbytes: int) -> bytes:
    return storage.FileBytes(str(path)).read(offset, nbytes)


def pieces_of(chance: random.Random, lengths: list[int]) -> list[bytes]:
    return [chance.randbytes(n // 2) + bytes(n - n // 2) for n in lengths]


LENGTHS = st.lists(st.integers(0, 300), min_size=1, max_size=12).filter(any)


@given(LENGTHS, st.data(), st.booleans(), st.sampled_from([frame, streamed]))
def test_any_range_and_any_rows_are_those_of_the_plain_file(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], data: Any, sums: bool, make: Any
) -> None:
    path = tmp_path_factory.mktemp("sealed") / "NAME"
    whole = write_frames(path, pieces_of(random.Random(1), lengths), sums=sums, make=make)
    assert storage.size_of(str(path)) == len(whole)
    for _ in range(6):
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, len(whole)))
        assert read(path, start, stop - start) == whole[start:stop]
        width = data.draw(st.integers(1, max(1, (stop - start) // 2) or 1))
        stride = data.draw(st.integers(width, width + 200))
        number = max(0, (len(whole) - start - width) // stride + 1)
        if start + width <= len(whole) and number:
            rows = np.zeros((number, width), np.uint8)
            storage.read_rows(str(path), start, stride, rows)
            at = [start + i * stride for i in range(number)]
            assert rows.tobytes() == b"".join(whole[a : a + width] for a in at)


def test_a_compressed_file_is_listed_as_what_it_stands_for(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "plain").write_bytes(b"here")
    for name in ("one", "plain", "below/two", "small.json"):
        write_frames(tmp_path / name, [b"there"])
    own = ["one", "plain", "plain.zst", "small.json.zst"]
    assert storage.names(str(tmp_path)) == ["below", *own]
    assert storage.tree(str(tmp_path)) == ["below/two", *own]
    assert not storage.exists(str(tmp_path / "small.json"))
    assert storage.exists(str(tmp_path / "one"))
    assert not storage.exists(str(tmp_path / "two"))
    assert read(tmp_path / "plain", 0, 4) == b"here"
    assert read(tmp_path / "one", 0, 5) == b"there"
    assert storage.stored(str(tmp_path / "one")) == str(tmp_path / "one.zst")
    assert storage.stored(str(tmp_path / "plain")) == str(tmp_path / "plain")


def test_a_file_that_is_replaced_is_read_anew_and_a_plain_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "NAME"
    write_frames(path, [b"first"])
    assert read(path, 0, 5) == b"first"
    before = storage.stamp(str(path))
    write_frames(path, [b"se", b"cond"])
    os.utime(f"{path}.zst", ns=(1, 1))
    assert storage.stamp(str(path)) != before
    assert read(path, 0, 6) == b"second"
    path.write_bytes(b"plain")
    assert storage.stamp(str(path))[0] == 5
    assert read(path, 0, 5) == b"plain"


def test_what_grokpack_writes_is_the_specifications_table(tmp_path: Path) -> None:
    assert zstd_seekable.render([(5, 14), (1 << 20, 900_000)]) == table(
        [(14, 5), (900_000, 1 << 20)]
    )
    assert zstd_seekable.table_bytes(2) == len(table([(0, 0)] * 2))
    compress = zstd_seekable.compressor()
    whole = random.Random(0).randbytes(5000)
    cut = [whole[:4096], whole[4096:]]
    frames = [compress(memoryview(piece)) for piece in cut]
    assert all(len(f) <= zstd_seekable.bound(len(c)) for f, c in zip(frames, cut, strict=True))
    data = b"".join(frames) + zstd_seekable.render([(4096, len(frames[0])), (904, len(frames[1]))])
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    assert reader.read() == whole
    (tmp_path / "NAME.zst").write_bytes(data)
    assert read(tmp_path / "NAME", 0, 5000) == whole


@pytest.mark.parametrize("nbytes", [0, 1, 1000, 131_072, 1 << 20])
def test_the_bound_holds_where_nothing_can_be_compressed(nbytes: int) -> None:
    data = random.Random(nbytes).randbytes(nbytes)
    assert len(zstd_seekable.compressor()(memoryview(data))) <= zstd_seekable.bound(nbytes)


def caught(path: Path, nbytes: int = 1) -> GrokpackError:
    with pytest.raises(GrokpackError) as error:
        read(path, 0, nbytes)
    assert error.value.where is not None
    assert error.value.where.path == f"{path}.zst"
    return error.value


def test_a_file_without_a_table_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "NAME"
    for data in (frame(b"whole"), b"", b"short", write_frames(path, [b"x" * 100]) and b""):
        Path(f"{path}.zst").write_bytes(data)
        error = caught(path)
        assert error.code == "GP228"
        assert "convert --to archive" in error.what
    write_frames(path, [b"x" * 100])
    whole = Path(f"{path}.zst").read_bytes()
    Path(f"{path}.zst").write_bytes(whole[:-1])
    assert caught(path).code == "GP228"


DATA = b"x" * 5000
ONE = frame(DATA)
LIES = {
    "frames that are not there": struct.pack("<IBI", 1 << 31, 0, 0x8F92EAB1),
    "more entries than the file has": struct.pack("<IBI", 100, 0, 0x8F92EAB1),
    "a version that is not known": table([(len(ONE), 5000)])[:-5]
    + struct.pack("<BI", 4, 0x8F92EAB1),
    "a frame longer than the file": table([(len(ONE) + 1, 5000)]),
    "a frame shorter than it is": table([(len(ONE) - 1, 5000)]),
    "more content than there is": table([(len(ONE), 5001)]),
    "less content than there is": table([(len(ONE), 4999)]),
    "far more content than is read": table([(len(ONE), LARGEST_FRAME_BYTES + 1)]),
    "no content": table([(len(ONE), 0)]),
    "the same frame twice": table([(len(ONE), 5000)] * 2),
    "bytes that are no frame's": bytes(100) + table([(len(ONE), 5000)]),
    "two frames for one": ONE + table([(2 * len(ONE), 5000)]),
    "another beginning": b"\0" + table([(len(ONE), 5000)])[1:],
    "another length": b"\x5e\x2a\x4d\x18\0" + table([(len(ONE), 5000)])[5:],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_table_that_lies_is_found_out(tmp_path: Path, lie: str) -> None:
    path = tmp_path / "NAME"
    Path(f"{path}.zst").write_bytes(ONE + LIES[lie])
    with pytest.raises(GrokpackError) as error:
        read(path, 0, storage.size_of(str(path)) or 5000)
    assert error.value.code == ("GP213" if lie == "no content" else "GP227")


def test_a_table_that_is_there_but_larger_than_any_is_not_read(tmp_path: Path) -> None:
    path, frames = tmp_path / "NAME", (1 << 21) + 1
    with Path(f"{path}.zst").open("wb") as file:
        file.truncate(8 * frames + 1000)  # a hole
        file.seek(0, os.SEEK_END)
        file.write(struct.pack("<IBI", frames, 0, 0x8F92EAB1))
    tracemalloc.start()
    assert caught(path).code == "GP227"
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_changed_payload_is_found_by_its_checksum(tmp_path: Path) -> None:
    path, chance = tmp_path / "NAME", random.Random(3)
    whole = write_frames(path, pieces_of(chance, [2000, 2000, 2000]))
    data = bytearray(Path(f"{path}.zst").read_bytes())
    data[1500] ^= 1  # in the second frame, bytes that could not be compressed
    Path(f"{path}.zst").write_bytes(data)
    assert read(path, 0, 2000) == whole[:2000]
    with pytest.raises(GrokpackError, match="frame 1") as error:
        read(path, 2000, 1)
    assert error.value.code == "GP227"
    assert read(path, 4000, 2000) == whole[4000:]


def test_zeros_are_opened_and_decoded_up_to_what_a_file_can_hold(tmp_path: Path) -> None:
    path, frames = tmp_path / "NAME", 300
    zeros = zstandard.ZstdCompressor(1, write_checksum=True).compress(bytes(1 << 20))
    stored = zeros * frames + table([(len(zeros), 1 << 20)] * frames)
    Path(f"{path}.zst").write_bytes(stored)
    data = storage.FileBytes(str(path))
    assert data.size() == frames << 20
    for number in range(256):
        assert not any(data.read(number << 20, 16))
    with pytest.raises(GrokpackError, match="do not become") as error:
        data.read(256 << 20, 16)
    assert error.value.code == "GP235"


def bomb(claim: int | None) -> bytes:
    """A gigabyte of zeros in a frame of 32 kB that says to be of any size, or none."""
    options = {} if claim is None else {"size": 1 << 30}
    compressor = zstandard.ZstdCompressor(1).compressobj(**options)
    block = bytes(1 << 20)
    data = b"".join(compressor.compress(block) for _ in range(1 << 10)) + compressor.flush()
    if claim is None:
        return data
    assert data.count(struct.pack("<I", 1 << 30)) == 1
    return data.replace(struct.pack("<I", 1 << 30), struct.pack("<I", claim))


@pytest.mark.parametrize("claim", [None, 1 << 30, LARGEST_FRAME_BYTES])
def test_a_bomb_costs_no_more_than_the_largest_frame(tmp_path: Path, claim: int | None) -> None:
    path, data = tmp_path / "NAME", bomb(claim)
    Path(f"{path}.zst").write_bytes(data + table([(len(data), LARGEST_FRAME_BYTES)]))
    tracemalloc.start()
    assert caught(path).code == "GP227"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * LARGEST_FRAME_BYTES


def test_a_thread_keeps_no_more_frames_than_it_says(tmp_path: Path) -> None:
    from grokpack.storage.decompression import HELD_BYTES
    from grokpack.storage.reading import _LOCAL

    path = tmp_path / "NAME"
    whole = write_frames(path, [bytes([i]) * (1 << 20) for i in range(9)])
    assert read(path, 5, len(whole) - 5) == whole[5:]
    held = _LOCAL._held
    assert 0 < sum(len(slot.memory) for slot in (*held.slots, held.stored)) <= HELD_BYTES


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    path = tmp_path_factory.mktemp("fuzz") / "NAME"
    whole = write_frames(path, pieces_of(random.Random(5), [400, 0, 300, 500]))
    return path, whole, Path(f"{path}.zst").read_bytes()


@given(st.data())
def test_changed_bytes_end_in_a_code_or_in_the_same_bytes(
    sound: tuple[Path, bytes, bytes], data: Any
) -> None:
    path, whole, sealed = sound
    changed = bytearray(sealed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(
            st.integers(0, len(sealed) - 1) | st.integers(len(sealed) - 60, len(sealed) - 1)
        )
        changed[at] = data.draw(st.integers(0, 255))
    del changed[data.draw(st.integers(1, len(sealed)) | st.just(len(sealed))) :]
    Path(f"{path}.zst").write_bytes(changed)
    stamp = next(STAMPS)  # a changed file is known by its time
    os.utime(f"{path}.zst", ns=(stamp, stamp))
    try:
        size = storage.FileBytes(str(path)).size()
        found = read(path, 0, size)
    except GrokpackError as error:
        assert error.code in TAME  # noqa: PT017  # either way is right
        return
    assert found == whole


@given(st.binary(max_size=200))
@example(b"")
def test_any_bytes_at_all_end_in_a_code_or_a_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "NAME"
    Path(f"{path}.zst").write_bytes(
        data + struct.pack("<IBI", data[0] % 9 if data else 0, 0, 0x8F92EAB1)
    )
    try:
        read(path, 0, storage.FileBytes(str(path)).size())
    except GrokpackError as error:
        assert error.code in TAME  # noqa: PT017  # either way is right
