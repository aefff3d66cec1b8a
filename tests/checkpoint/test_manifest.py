"""What a manifest may claim, and what that may cost."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from grokpack.checkpoint import manifest_file
from grokpack.core.errors import GrokpackError
from grokpack.core.tiles import TILE_BYTES
from grokpack.formats import zstd

SUMS = bytes(range(160)) * 100  # a thousand checksums


def loaded(folder: Path, rows: dict[str, Any]) -> dict[str, Any]:
    document = {"schema": manifest_file.SCHEMA, "files": rows}
    (folder / manifest_file.FILE).write_text(json.dumps(document), encoding="utf-8")
    found = manifest_file.load(str(folder))
    assert found is not None
    return found


def row(frame: bytes, tiles: int = 1000) -> dict[str, Any]:
    return {"bytes": tiles * TILE_BYTES, "tiles_zstd": base64.b64encode(frame).decode()}


def bomb(nbytes: int, *, sized: bool) -> bytes:
    """A frame of zeros, that says how many they are or does not."""
    made = zstandard.ZstdCompressor(write_content_size=sized)
    return made.compress(bytes(nbytes))


FRAMES: dict[str, Callable[[], bytes]] = {
    "a size in its header": lambda: bomb(1 << 28, sized=True),
    "no size in its header": lambda: bomb(1 << 28, sized=False),
    "one byte more": lambda: zstandard.compress(SUMS + b"\0"),
    "one byte less": lambda: zstandard.compress(SUMS[:-1]),
    "a window of a gibibyte": lambda: b"\x28\xb5\x2f\xfd\0\xa0"  # then one block, as it is
    + (len(SUMS) << 3 | 1).to_bytes(3, "little") + SUMS,
    "nothing": lambda: b"",
    "no frame": lambda: b"\x28\xb5\x2f\xfd",
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_packed_checksums_take_the_memory_of_the_checksums(tmp_path: Path, name: str) -> None:
    frame = FRAMES[name]()
    tracemalloc.start()
    try:
        with pytest.raises(GrokpackError) as caught:
            loaded(tmp_path, {"a": row(frame)})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "GP209"
    assert peak < 1 << 20


def test_packed_checksums_are_read(tmp_path: Path) -> None:
    packed = row(zstandard.compress(SUMS))
    found = loaded(tmp_path, {"a": packed | {"decoded": packed}})
    assert "".join(manifest_file.tiles(found["files"]["a"])) == SUMS.hex()
    assert manifest_file.row(found, "a") == packed | {"decoded": packed}
    with pytest.raises(GrokpackError, match="broken"):
        loaded(tmp_path, {"a": packed | {"decoded": row(b"")}})


def test_a_manifest_claims_no_more_than_its_tables_may_become(tmp_path: Path) -> None:
    frame = zstandard.compress(bytes(1 << 22))  # a quarter of a million sums, in 150 bytes
    rows = {str(number): row(frame, 1 << 18) for number in range(4)}
    assert len(manifest_file.tiles(loaded(tmp_path, rows)["files"]["0"])) == 1 << 18
    rows["0"]["decoded"] = {"bytes": 1, "tiles": "0" * 32}
    with pytest.raises(GrokpackError, match="16 TiB"):
        loaded(tmp_path, rows)


@pytest.mark.parametrize("nbytes", [0, 1, 100, 1 << 17, 9 << 20])
@pytest.mark.parametrize("level", [-5, 3, 19])
def test_frames_become_what_they_were_made_of(nbytes: int, level: int) -> None:
    data = (SUMS * (nbytes // len(SUMS) + 1))[:nbytes]
    assert zstd.decompress(zstandard.ZstdCompressor(level).compress(data), nbytes) == data
    with pytest.raises(ValueError, match="frame"):
        zstd.decompress(zstandard.ZstdCompressor(level).compress(data), nbytes + 1)
