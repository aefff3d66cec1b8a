"""The index of a database that TensorStore wrote, and indexes that claim too much."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import pytest
import tensorstore as ts
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Extent
from grokpack.formats import ocdbt, ocdbt_index
from grokpack.formats.crc32c import crc32c
from grokpack.formats.ocdbt import Inline, varint, varints
from grokpack.formats.ocdbt_index import Lookup, largest_value
from grokpack.formats.ocdbt_nodes import Columns, Node


def part(folder: Path, place: Node | Extent) -> bytes:
    return (folder / place.path).read_bytes()[place.offset : place.offset + place.nbytes]


def found(folder: Path) -> int:
    def read(nodes: Sequence[Node]) -> list[bytes]:
        return [part(folder, node) for node in nodes]

    return largest_value((folder / ocdbt.MANIFEST).read_bytes(), read, list[str]().append)


def lookup(folder: Path) -> Lookup:
    return Lookup((folder / ocdbt.MANIFEST).read_bytes(), lambda node: part(folder, node))


@pytest.mark.parametrize("compression", [None, {"id": "zstd"}])
@pytest.mark.parametrize(("keys", "size"), [(0, 0), (1, 5), (3, 300), (400, 1000)])
def test_the_largest_value_of_a_database_of_tensorstores_is_found(
    tmp_path: Path, keys: int, size: int, compression: dict[str, str] | None
) -> None:
    config = {"max_decoded_node_bytes": 1000, "compression": compression}  # a tree of levels
    base = f"file://{tmp_path}/"
    spec = {"driver": "ocdbt", "base": base, "config": config}
    store = ts.KvStore.open(spec).result()
    with ts.Transaction() as transaction:
        for number in range(keys):
            store.with_transaction(transaction)[f"key/{number:05d}"] = b"x" * (size - number % 3)
    if not keys:
        store["gone"] = b"x"
        del store["gone"]
    assert found(tmp_path) == size


def test_numbered_manifests_are_refused_by_name(tmp_path: Path) -> None:
    base, config = f"file://{tmp_path}/", {"manifest_kind": "numbered"}
    ts.KvStore.open({"driver": "ocdbt", "base": base, "config": config}).result()["key"] = b"x"
    with pytest.raises(GrokpackError, match="numbered") as caught:
        found(tmp_path)
    assert caught.value.code == "GP208"


@pytest.mark.parametrize("compression", [None, {"id": "zstd"}])
def test_keys_of_a_database_of_tensorstores_are_found(
    tmp_path: Path, compression: dict[str, str] | None
) -> None:
    config = {"max_decoded_node_bytes": 500, "compression": compression}
    spec = {"driver": "ocdbt", "base": f"file://{tmp_path}/", "config": config}
    store = ts.KvStore.open(spec).result()
    keys = [f"{'layer/' * (n % 3)}{n * n}/c/{n % 7}".encode() for n in range(300)]
    values = {key: key * (n % 40) for n, key in enumerate(keys)}  # some in leaves, some in files
    with ts.Transaction() as transaction:
        for key, value in values.items():
            store.with_transaction(transaction)[key] = value
    index = lookup(tmp_path)
    for key, value in values.items():
        place = index.find(key)
        assert (part(tmp_path, place) if isinstance(place, Extent) else place) == value
        assert index.find(key + b"0") == values.get(key + b"0")
    assert index.find(b"") is None
    assert index.find(b"z") is None


def test_a_database_without_keys_has_none(tmp_path: Path) -> None:
    store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{tmp_path}/"}).result()
    store["gone"] = b"x"
    del store["gone"]
    assert lookup(tmp_path).find(b"gone") is None


def test_a_changed_byte_of_an_index_is_noticed() -> None:
    own = ocdbt.database([Inline(b"a", b"x" * 50)], "nodes")
    broken = bytearray(own.nodes)
    broken[20] ^= 1
    with pytest.raises(GrokpackError) as caught:
        Lookup(own.manifest, lambda n: bytes(broken)[n.offset : n.offset + n.nbytes]).find(b"a")
    assert caught.value.code == "GP209"


@pytest.mark.parametrize("shared", [1 << 40, 1 << 20])
def test_keys_that_claim_to_share_too_much_are_refused(tmp_path: Path, shared: int) -> None:
    keys = varints([shared] * 199) + varints([1 << 20, *[1] * 199])
    node = framed(NODE, b"\0" + ocdbt._file_table([]) + varint(200) + keys + bytes(1 << 21))
    with pytest.raises(GrokpackError) as caught:
        lookup(written(tmp_path, node)).find(b"a")
    assert caught.value.code == "GP235"


def test_a_lookup_in_a_loop_ends(tmp_path: Path) -> None:
    """A node that is its own child."""
    table = ocdbt._file_table([b"nodes"])
    body = b"\1" + table + varint(1) + varints([0]) + varints([0]) + varints([0, 0, 100])
    node = framed(NODE, (body + bytes(100))[:82], compressed=False)
    assert len(node) == 100
    with pytest.raises(GrokpackError) as caught:
        lookup(written(tmp_path, node)).find(b"a")
    assert caught.value.code == "GP235"


def framed(magic: int, body: bytes, *, compressed: bool = True) -> bytes:
    packed = zstandard.compress(body) if compressed else body
    head = bytes([0, compressed])
    whole = struct.pack(">I", magic) + struct.pack("<Q", len(packed) + 18) + head + packed
    return whole + struct.pack("<I", crc32c(whole))


def written(folder: Path, node: bytes, below: bytes = b"") -> Path:
    """A database whose root is a node, behind others in their file."""
    root = ocdbt._Child(b"", 0, len(below), b"", 1, len(node), 1)
    (folder / "nodes").write_bytes(below + node)
    (folder / ocdbt.MANIFEST).write_bytes(ocdbt._manifest(root, node, node, "nodes"))
    return folder


NODE = 0x0CDB20DE
HOSTILE = {
    "a node of zeros": framed(NODE, bytes(64 << 20)),
    "a billion files": framed(NODE, b"\0" + varint(1 << 30) + bytes(1 << 20)),
    "a million files": framed(NODE, b"\0" + varint(1 << 20) + bytes(8 << 20)),
    "files whose names share too much": framed(
        NODE,
        b"\0"
        + varint(4000)
        + varints([1 << 20] * 3999)
        + varints([1 << 20] + [1] * 3999)
        + bytes(4000)
        + b"a" * (1 << 21),
    ),
    "millions of keys": framed(NODE, b"\0\0" + varint(3 << 20) + bytes(15 << 20)),
    "a billion keys": framed(NODE, b"\0\0" + varint(1 << 30) + bytes(1 << 20)),
    "a number without end": framed(NODE, b"\0\0" + b"\xff" * 1000),
    "a compression that is not known": framed(NODE, b"")[:13] + b"\7" + bytes(9),
    "nothing": framed(NODE, b""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_node_that_claims_too_much_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(GrokpackError) as caught:
        found(written(tmp_path, HOSTILE[name]))
    assert caught.value.code in ("GP209", "GP235")


def interior(children: Sequence[tuple[int, int]], padding: int = 0) -> bytes:
    """An interior node of children at these offsets, of these lengths, in the file `nodes`."""
    count, table = len(children), ocdbt._file_table([b"nodes"])
    keys = varints([0] * (count - 1)) + varints([4] * count) + varints([0] * count)
    names = b"".join(b"%04d" % n for n in range(count))
    offsets, lengths = (varints(column) for column in zip(*children, strict=True))
    places = varints([0] * count) + offsets + lengths
    return framed(NODE, b"\1" + table + varint(count) + keys + names + places + bytes(padding))


def test_a_node_that_is_listed_twice_is_refused_before_it_is_read_twice(tmp_path: Path) -> None:
    """By itself, so that the tree has no end, or by two parents."""
    below = framed(NODE, b"\0" + ocdbt._file_table([]) + varint(0))
    root = interior([(0, len(below))] * 2)
    with pytest.raises(GrokpackError, match="listed twice") as caught:
        found(written(tmp_path, root, below))
    assert caught.value.code == "GP209"


def test_nodes_that_together_decode_to_too_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ocdbt_index, "MOST_BYTES", 10 << 20)
    below = [framed(NODE, b"\0\0\0" + bytes((1 << 20) + n)) for n in range(20)]
    ends = [*accumulate(map(len, below))]
    root = interior([(end - len(node), len(node)) for end, node in zip(ends, below, strict=True)])
    with pytest.raises(GrokpackError) as caught:
        found(written(tmp_path, root, b"".join(below)))
    assert caught.value.code == "GP235"


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "d/../../outside"])
def test_a_file_outside_of_the_database_is_refused(tmp_path: Path, path: str) -> None:
    node = framed(NODE, b"\0" + ocdbt._file_table([path.encode()]) + varint(0))
    for look in (found, lambda folder: lookup(folder).find(b"a")):
        with pytest.raises(GrokpackError, match="outside of the database") as caught:
            look(written(tmp_path, node))
        assert caught.value.code == "GP209"


def test_each_file_of_values_is_judged(tmp_path: Path) -> None:
    node = framed(NODE, b"\0" + ocdbt._file_table([b"d/a", b"x"]) + varint(0))
    manifest, judged = written(tmp_path, node) / ocdbt.MANIFEST, list[str]()
    largest_value(manifest.read_bytes(), lambda nodes: [node] * len(nodes), judged.append)
    assert judged == ["d/a", "x"]


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=30), st.binary(max_size=5))
def test_numbers_are_read_as_they_are_written(numbers: list[int], rest: bytes) -> None:
    columns = Columns(b"".join(map(varint, numbers)) + rest)
    assert columns.numbers(len(numbers)).tolist() == numbers
    assert columns.take(len(rest)) == rest


def test_an_index_of_our_own_is_read_too(tmp_path: Path) -> None:
    own = ocdbt.database([Inline(b"a", b"x" * 50), Inline(b"b", b"y")], "nodes")
    (tmp_path / "nodes").write_bytes(own.nodes)
    (tmp_path / ocdbt.MANIFEST).write_bytes(own.manifest)
    assert found(tmp_path) == 50
