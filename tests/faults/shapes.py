"""Hostile inputs that are small and claim much: each made below a folder, around a checkpoint.

Sizes are those at which the input costs most; `scale` makes smaller ones of the same shape.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import zstandard

from grokpack.core.tiles import TILE_BYTES
from grokpack.formats import zstd_seekable
from tests.support.conversions import convert

EMBEDDING = "language_model/in_out_embed/embeddings"
QUERY = "transformer/decoder_layer_0/multi_head_attention/query/w"
MIB = 1 << 20

Maker = Callable[[Path, Path, float], Path]
"""Makes a case of the checkpoints in the first folder, below the second; says where it is."""


def prepare(folder: Path) -> Path:
    """Make, of the ckpt-0 in a folder, those checkpoints beside it that cases are made of."""
    origin = folder / "ckpt-0"
    for form in ("hf", "zarr", "orbax", "archive"):
        if not (folder / form).exists():
            convert(origin, folder / form, form)
    if not (folder / "gguf").exists():
        (folder / "gguf").mkdir()
        convert(origin, folder / "gguf" / "m.gguf", "gguf", type="q8_0")
    return folder


def copied(held: Path, form: str, place: Path) -> Path:
    return shutil.copytree(held / form, place / form)


# Compressed

ZEROS = bytes(MIB)


def packed_zeros(nbytes: int) -> bytes:
    """A zstd frame of zeros that says how many they are: 32 kB for each gibibyte."""
    made = zstandard.ZstdCompressor(3).compressobj(size=nbytes)
    whole = b"".join(made.compress(ZEROS[: min(MIB, nbytes - at)]) for at in range(0, nbytes, MIB))
    return whole + made.flush()


def manifest_frame(held: Path, place: Path, scale: float) -> Path:
    """Checksums of a file that become gigabytes."""
    folder = copied(held, "hf", place)
    path = folder / "grokpack.json"
    document = json.loads(path.read_text())
    row = next(iter(document["files"].values()))
    row.pop("tiles")
    row["tiles_zstd"] = base64.b64encode(packed_zeros(int(scale * (2 << 30)))).decode()
    path.write_text(json.dumps(document))
    return folder


def manifest_tables(held: Path, place: Path, scale: float) -> Path:
    """Many files, whose checksums become as many as the manifest may have, and more."""
    folder = copied(held, "hf", place)
    frame = base64.b64encode(packed_zeros(int(scale * 8 * MIB)) or b"").decode()
    row = {"bytes": int(scale * 8 * MIB) // 16 * TILE_BYTES, "tiles_zstd": frame}
    document = json.loads((folder / "grokpack.json").read_text())
    document["files"] |= {f"model-{n}.safetensors": row for n in range(int(scale * 30_000))}
    (folder / "grokpack.json").write_text(json.dumps(document))
    return folder


def chunk(held: Path, place: Path, scale: float, codec: str = "zstd") -> Path:
    """A chunk of gigabytes, in kilobytes."""
    folder = copied(held, "zarr", place)
    path = folder / EMBEDDING / "zarr.json"
    document = json.loads(path.read_text())
    shape = [max(64, int(scale * (1 << 15))), 1 << 14]
    document["chunk_grid"]["configuration"]["chunk_shape"] = shape
    how = {"level": 3, "checksum": False} if codec == "zstd" else {"level": 5}
    document["codecs"] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": codec, "configuration": how},
    ]
    path.write_text(json.dumps(document))
    shutil.rmtree(path.parent / "c")
    (path.parent / "c" / "0").mkdir(parents=True)
    nbytes = shape[0] * shape[1] * 4
    made = packed_zeros(nbytes) if codec == "zstd" else gzip.compress(bytes(nbytes))
    (path.parent / "c" / "0" / "0").write_bytes(made)
    return folder


def claims(held: Path, place: Path, scale: float) -> Path:
    """Arrays that claim a million files each, and have none."""
    folder = copied(held, "zarr", place)
    for path in folder.rglob("zarr.json"):
        document = json.loads(path.read_text())
        if document.get("node_type") == "array":
            axes = len(document["shape"])
            document["shape"] = [*[1] * (axes - 1), int(scale * (1 << 20))]
            document["chunk_grid"]["configuration"]["chunk_shape"] = [1] * axes
            document["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
            path.write_text(json.dumps(document))
            shutil.rmtree(path.parent / "c")
    return folder


def shard_index(held: Path, place: Path, scale: float, chunks: int = 1 << 23) -> Path:
    """A shard of holes whose index alone is 134 MB."""
    folder = copied(held, "zarr", place)
    path = folder / EMBEDDING / "zarr.json"
    document = json.loads(path.read_text())
    shard = [1 << 10, int(scale * chunks) >> 10]
    document["chunk_grid"]["configuration"]["chunk_shape"] = shard
    document["codecs"][0]["configuration"]["chunk_shape"] = [1, 1]
    path.write_text(json.dumps(document))
    shutil.rmtree(path.parent / "c")
    (path.parent / "c" / "0").mkdir(parents=True)
    with (path.parent / "c" / "0" / "0").open("wb") as file:
        file.truncate(16 * shard[0] * shard[1] + 4)
    return folder


def shards(held: Path, place: Path, scale: float) -> Path:
    """A shard of as many chunks as may be."""
    return shard_index(held, place, scale, 1 << 20)


def metadata(held: Path, place: Path, scale: float) -> Path:
    """Tens of thousands of arrays."""
    folder = copied(held, "zarr", place)
    data = (folder / EMBEDDING / "zarr.json").read_bytes()
    for number in range(int(scale * 50_000)):
        (folder / str(number)).mkdir()
        (folder / str(number) / "zarr.json").write_bytes(data)
    return folder


def table_of_frames(held: Path, place: Path, scale: float) -> Path:
    """A compressed file of two million frames of nothing."""
    folder = copied(held, "archive", place)
    path = min(folder.rglob("tensor*.zst"))
    count = int(scale * (1 << 21))
    table = zstd_seekable.render((0, 0) for _ in range(count))
    path.write_bytes(table)
    return folder


# Names


def files(_held: Path, place: Path, scale: float) -> Path:
    """A folder of a hundred thousand files."""
    folder = place / "many"
    folder.mkdir()
    for number in range(int(scale * 100_000)):
        (folder / f"tensor{number:05d}_000").touch()
    return folder


def depth(_held: Path, place: Path, scale: float) -> Path:
    """A zarr group hundreds of folders deep."""
    folder = place / "deep"
    folder.mkdir()
    (folder / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    for _ in range(int(scale * 400)):
        folder = folder / "d"
        folder.mkdir()
    return place / "deep"


# Documents


def _written(name: str, form: str, make: Callable[[float], bytes]) -> Maker:
    """Puts bytes in place of the first file of a pattern."""

    def maker(held: Path, place: Path, scale: float) -> Path:
        folder = copied(held, form, place)
        found = sorted(folder.glob(name)) or [folder / name]
        found[0].write_bytes(make(scale))
        return folder

    return maker


def objects(scale: float) -> bytes:
    """JSON of ten million empty objects."""
    return b"[" + b"{}," * int(scale * 10_000_000) + b"{}]"


def listed_objects(scale: float) -> bytes:
    return b'{"schema":"grokpack/manifest/1","files":' + objects(scale) + b"}"


def nested(scale: float) -> bytes:
    return b'{"a":' * int(scale * 15_000_000)


def numbers(scale: float) -> bytes:
    return b"[" + b"9" * int(scale * 30_000_000) + b"]"


def tensors(scale: float) -> bytes:
    """A safetensors header of a million empty tensors."""
    row = ',"data_offsets":[0,0],"dtype":"F32","shape":[0]}'
    rows = (f'"{n:x}":{{{row[1:]}' for n in range(int(scale * 1_000_000)))
    header = ("{" + ",".join(rows) + "}").encode()
    return struct.pack("<Q", len(header)) + header


def spaces(scale: float) -> bytes:
    """A safetensors header of little but spaces."""
    count = int(scale * 99_000_000)
    return struct.pack("<Q", count) + b"{" + b" " * (count - 2) + b"}"


def strings(scale: float) -> bytes:
    """GGUF of millions of empty strings."""
    count = int(scale * 12_000_000)
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"
    return head + struct.pack("<IIQ", 9, 8, count) + bytes(8 * count)


def keys(scale: float) -> bytes:
    """GGUF of millions of keys of no name."""
    count = int(scale * 7_000_000)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, count) + bytes(13 * count)


def rows(scale: float) -> bytes:
    """GGUF of as many tensors as may be, each of a block."""
    count = int(scale * 65_536)
    table = b"".join(struct.pack("<Q6sIQIQ", 6, b"%06d" % n, 1, 1, 0, 32 * n) for n in range(count))
    head = b"GGUF" + struct.pack("<IQQ", 3, count, 1) + struct.pack("<Q", 20)
    head += b"general.architecture" + struct.pack("<IQ", 8, 4) + b"grok" + table
    return head + bytes(-len(head) % 32 + 32 * count)


def described(scale: float) -> bytes:
    """A safetensors header of as much metadata as may be."""
    table = {"__metadata__": {f"{n:x}": "" for n in range(int(scale * 300_000))}}
    header = json.dumps(table, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header


def settings(scale: float) -> bytes:
    """A config of as many keys as may be."""
    return json.dumps({f"k{n}": n for n in range(int(scale * 300_000))}).encode()


def headers(held: Path, place: Path, scale: float) -> Path:
    """A folder of files, each with as many tensors as may be."""
    folder = copied(held, "hf", place)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    for number in range(1, 26):
        name = f"model-{number:05d}-of-00025.safetensors"
        (folder / name).write_bytes(tensors(scale * 0.06))
    return folder


def opcodes(scale: float) -> bytes:
    """A pickle of a hundred million opcodes."""
    return b"\x80\x04" + b"(" * int(scale * 100_000_000) + b"."


def pieces(scale: float) -> bytes:
    """A tokenizer of millions of empty pieces."""
    return b"\x0a\x00" * int(scale * 50_000_000)


SHAPES: dict[str, Maker] = {
    "a frame of a manifest that becomes gigabytes": manifest_frame,
    "tables of a manifest that become gigabytes": manifest_tables,
    "a chunk that becomes gigabytes": chunk,
    "a chunk of gzip": lambda held, place, scale: chunk(held, place, scale / 16, "gzip"),
    "files that metadata claims": claims,
    "an index of holes": shard_index,
    "the longest index": shards,
    "arrays without end": metadata,
    "frames without end": table_of_frames,
    "files without end": files,
    "folders without end": depth,
    "an index of empty objects": _written("model.safetensors.index.json", "hf", objects),
    "a manifest of empty objects": _written("grokpack.json", "hf", listed_objects),
    "a config of empty objects": _written("config.json", "hf", objects),
    "a config of levels": _written("config.json", "ckpt-0", nested),
    "a config of a number": _written("config.json", "gguf", numbers),
    "metadata of empty objects": _written("zarr.json", "zarr", objects),
    "a tree of empty objects": _written("_METADATA", "orbax", objects),
    "a header of empty tensors": _written("*.safetensors", "hf", tensors),
    "a header of spaces": _written("*.safetensors", "hf", spaces),
    "a header of metadata": _written("*.safetensors", "hf", described),
    "headers of many files": headers,
    "a config of many keys": _written("config.json", "hf", settings),
    "tensors without end": _written("m.gguf", "gguf", rows),
    "empty strings": _written("m.gguf", "gguf", strings),
    "keys without names": _written("m.gguf", "gguf", keys),
    "opcodes without end": _written("ckpt-0/tensor00000_000", "ckpt-0", opcodes),
    "a tokenizer of empty pieces": _written("tokenizer.model", "ckpt-0", pieces),
}


# Lists and policies, which stand beside a checkpoint


def newlines(scale: float) -> bytes:
    return b"\n" * int(scale * 100_000_000)


def sums(scale: float) -> bytes:
    line = hashlib.sha256(b"").hexdigest().encode() + b"  %07d\n"
    return b"".join(line % n for n in range(int(scale * 1_300_000)))


def dictionaries(scale: float) -> bytes:
    return b"d5:filesl" + b"de" * int(scale * 45_000_000) + b"ee"


def lists(scale: float) -> bytes:
    return b"d4:info" + b"l" * int(scale * 90_000_000)


def dotted(scale: float) -> bytes:
    return b".".join([b"a"] * int(scale * 400_000)) + b" = 1\n"


LISTS: dict[str, Callable[[float], bytes]] = {
    "lines of nothing": newlines,
    "sums without end": sums,
    "a torrent of empty dictionaries": dictionaries,
    "a torrent of nested lists": lists,
    "a list of empty objects": listed_objects,
}
POLICIES: dict[str, Callable[[float], bytes]] = {
    "a dotted key": dotted,
    "a policy of nothing": newlines,
    "tables within tables": lambda scale: b"".join(
        b"[k%d.a.a.a.a.a.a.a]\n" % n for n in range(int(scale * 12_000))
    ),
    "tables without end": lambda scale: b"[[tensors]]\n" * int(scale * 8_000_000),
}
