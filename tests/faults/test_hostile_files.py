"""Hostile safetensors, GGUF, indices, manifests, links: refused with a code, in bounded memory.

All are read by one process that may take little memory and time, and whose home has a canary that
running anything from a file would touch.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import reshard, synthesize
from tests.support.conversions import convert
from tests.support.fuzzing import TINY

MEMORY_BYTES = 1 << 30  # of addresses: the interpreter with numpy takes half of it
SECONDS = 60

PROBE = """
import json, resource, signal, sys
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
signal.alarm({seconds})
from grokpack.core.errors import GrokpackError
from grokpack.checkpoint.open_checkpoint import survey
found = {{}}
for path in sys.argv[1:]:
    try:
        seen = survey(path, None)
        codes = [f.code for f in seen.findings if f.severity == "error"]
        found[path] = codes[0] if codes else "whole"
    except GrokpackError as error:
        found[path] = error.code
print(json.dumps(found))
"""


def judged(paths: list[Path]) -> dict[str, str]:
    """What a process with little memory says of each: a code, or `whole`."""
    code = PROBE.format(memory=MEMORY_BYTES, seconds=SECONDS)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found


def header(table: object, *, length: int | None = None, text: bytes | None = None) -> bytes:
    body = json.dumps(table).encode() if text is None else text
    return struct.pack("<Q", len(body) if length is None else length) + body


def row(
    start: int, stop: int, shape: list[int] | None = None, dtype: str = "F32"
) -> dict[str, Any]:
    count = [(stop - start) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": count, "data_offsets": [start, stop]}


DATA = bytes(64)
SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no header": lambda: b"\x08",
    "length of 2^63": lambda: header({}, length=1 << 63),
    "length of 2^64 - 1": lambda: header({}, length=(1 << 64) - 1),
    "length beyond the file": lambda: header({}, length=1 << 20),
    "overlapping": lambda: header({"a": row(0, 32), "b": row(16, 48)}) + DATA,
    "one inside the other": lambda: header({"a": row(0, 64), "b": row(16, 32)}) + DATA,
    "a gap": lambda: header({"a": row(0, 16), "b": row(32, 64)}) + DATA,
    "a gap at the front": lambda: header({"a": row(16, 64)}) + DATA,
    "bytes left over": lambda: header({"a": row(0, 32)}) + DATA,
    "beyond the end": lambda: header({"a": row(0, 1 << 40, [1 << 38])}) + DATA,
    "backwards": lambda: header({"a": row(32, 0, [8])}) + DATA,
    "negative": lambda: header({"a": row(-4, 60, [16])}) + DATA,
    "shape and bytes differ": lambda: header({"a": row(0, 64, [15])}) + DATA,
    "shape of 2^63": lambda: header({"a": row(0, 64, [1 << 63, 2])}) + DATA,
    "shape that overflows": lambda: header({"a": row(0, 64, [1 << 33, 1 << 33])}) + DATA,
    "huge number": lambda: header(
        None, text=b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}"
    ),
    "many axes": lambda: header({"a": row(0, 4, [1] * 10_000)}) + bytes(4),
    "dtype of nothing": lambda: header({"a": row(0, 64, [16], "F99")}) + DATA,
    "deep": lambda: header(None, text=b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep objects": lambda: header(None, text=b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a name twice": lambda: header(
        None,
        text=b'{"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},'
        b'"a":{"dtype":"F32","shape":[8],"data_offsets":[32,64]}}',
    ) + DATA,
    "not an object": lambda: header([1, 2]),
    "not UTF-8": lambda: header(None, text=b'{"\xff\xfe": 1}'),
    "cut in the middle": lambda: header({"a": row(0, 64)})[:20],
    "half a million names": lambda: header(
        {f"t{n}": row(n * 4, n * 4 + 4) for n in range(200_000)}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model", TINY, seed=5)


def test_hostile_safetensors_are_refused(tmp_path: Path) -> None:
    places = {}
    for name, make in SAFETENSORS.items():
        place = tmp_path / name.replace(" ", "-").replace("^", "")
        place.mkdir()
        (place / "model.safetensors").write_bytes(make())
        places[name] = place
    found = judged(list(places.values()))
    for name, place in places.items():
        code = found[str(place)]
        assert code.startswith("GP"), (name, code)


INDICES: dict[str, object] = {
    "an absolute path": {"weight_map": {"a": "/etc/passwd"}},
    "a folder": {"weight_map": {"a": "x/y.safetensors"}},
    "no names": {"weight_map": 5},
    "a number for a name": {"weight_map": {"a": 7}},
    "missing files": {"weight_map": {"a": "absent.safetensors"}},
    "a list": [1],
}


def test_indices_lead_nowhere_else(origin: Path, tmp_path: Path) -> None:
    places = {"weights that lie above": tmp_path / "in" / "place"}
    above = places["weights that lie above"]
    convert(origin, above, "hf")
    (shard,) = above.glob("*.safetensors")
    shard.rename(above.parent / shard.name)
    path = above / "model.safetensors.index.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["weight_map"] = dict.fromkeys(document["weight_map"], f"../{shard.name}")
    path.write_text(json.dumps(document), encoding="utf-8")
    for name, index in INDICES.items():
        place = tmp_path / name.replace(" ", "-")
        convert(origin, place, "hf")
        (place / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
        places[name] = place
    found = judged(list(places.values()))
    said = {name: found[str(place)] for name, place in places.items()}
    assert said.pop("missing files") == "GP101"
    assert said == dict.fromkeys(said, "GP209")  # the index itself is refused, before it leads


def _put(data: bytearray, at: int, form: str, value: int) -> bytes:
    struct.pack_into(form, data, at, value)
    return bytes(data)


GGUF: dict[str, Callable[[bytearray], bytes]] = {
    "another magic": lambda d: _put(d, 0, "<I", 0),
    "another version": lambda d: _put(d, 4, "<I", 99),
    "2^63 tensors": lambda d: _put(d, 8, "<Q", 1 << 63),
    "a billion tensors": lambda d: _put(d, 8, "<Q", 10**9),
    "2^63 keys": lambda d: _put(d, 16, "<Q", 1 << 63),
    "a billion keys": lambda d: _put(d, 16, "<Q", 10**9),
    "a key of 2^63 bytes": lambda d: _put(d, 24, "<Q", 1 << 63),
    "a key of a gigabyte": lambda d: _put(d, 24, "<Q", 1 << 30),
    "no more than the magic": lambda d: bytes(d[:4]),
    "a third of the header": lambda d: bytes(d[:400]),
    "nested arrays": lambda d: bytes(d[:16]) + struct.pack("<Q", 1) + _nested(5000),
    "an array of 2^60": lambda d: bytes(d[:16]) + struct.pack("<QQ", 1, 1) + b"k"
    + struct.pack("<IIQ", 9, 4, 1 << 60),
    "a kind that is none": lambda d: bytes(d[:16]) + struct.pack("<QQ", 1, 1) + b"k"
    + struct.pack("<I", 77),
}  # fmt: skip


def _nested(depth: int) -> bytes:
    """A key whose value is an array of an array of ..."""
    return struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * depth


def test_hostile_gguf_is_refused(origin: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.gguf"
    convert(origin, good, "gguf", type="q8_0")
    data = good.read_bytes()
    places = {}
    for name, change in GGUF.items():
        path = tmp_path / f"{name.replace(' ', '-').replace('^', '')}.gguf"
        path.write_bytes(change(bytearray(data)))
        places[name] = path
    offset = data.find(b"token_embd.weight") + len(b"token_embd.weight")
    for name, value in {"an offset of 2^63": 1 << 63, "an odd offset": 7}.items():
        path = tmp_path / f"{name.replace(' ', '-').replace('^', '')}.gguf"
        path.write_bytes(_put(bytearray(data), offset + 4 + 16 + 4, "<Q", value))
        places[name] = path
    found = judged([good, *places.values()])
    assert found.pop(str(good)) == "whole"
    assert {n: found[str(p)][:2] for n, p in places.items()} == dict.fromkeys(places, "GP")


def test_links_lead_to_no_harm(origin: Path, tmp_path: Path) -> None:
    """A loop, a link to nothing, a link to a device that never ends."""
    places = []
    for name, target in {
        "loop": "tensor00003_000",
        "nothing": "absent",
        "zero": "/dev/zero",
    }.items():
        place = tmp_path / name
        reshard(origin, place, 2, "ckpt-0")
        path = place / "ckpt-0" / "tensor00003_000"
        path.unlink()
        path.symlink_to(target)
        places.append(place)
    (tmp_path / "round").mkdir()
    (tmp_path / "round" / "ckpt-0").symlink_to(tmp_path / "round", target_is_directory=True)
    places.append(tmp_path / "round")
    found = judged(places)
    assert all(code.startswith("GP") for code in found.values()), found


def test_manifests_lead_nowhere_else(origin: Path, tmp_path: Path) -> None:
    """`--restart` and `--data` believe no path that leaves the folder."""
    from tests.support.forked import run

    out = tmp_path / "out"
    reshard(origin, out, 2)
    mine = tmp_path / "mine"
    mine.write_text("mine", encoding="utf-8")
    path = out / "grokpack.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for table in ("files", "finals"):
        document[table]["../mine"] = {"bytes": 4, "tiles": "0" * 32}
        document[table]["/etc/hostname"] = {"bytes": 4, "tiles": "0" * 32}
    path.write_text(json.dumps(document), encoding="utf-8")
    done = run("verify", out, "--data")
    assert done.returncode in (0, 1)
    run("reshard", origin, "--tp", "2", "-o", out, "--restart")
    assert mine.read_text(encoding="utf-8") == "mine"
