"""The index of a view, by TensorStore's word: it dumps, lists and reads what is encoded here."""

from __future__ import annotations

import struct
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from grokpack.formats import ocdbt
from grokpack.formats.ocdbt import ChunkSeries, Inline

NODES = "here/nodes"


def store(folder: Path, database: ocdbt.Database) -> ts.KvStore:
    """The database as TensorStore opens it, written below a folder."""
    write(folder, database)
    base = f"file://{folder}/"
    return ts.KvStore.open({"driver": "ocdbt", "base": base}).result()


def write(folder: Path, database: ocdbt.Database) -> None:
    (folder / "here").mkdir(exist_ok=True)
    (folder / NODES).write_bytes(database.nodes)
    (folder / ocdbt.MANIFEST).write_bytes(database.manifest)


def run(prefix: str, counts: tuple[int, ...], files: dict[str, int], nbytes: int) -> ChunkSeries:
    """Chunks shared out to files in turn, the first of each at the offset given."""
    tails, count = ocdbt.tails(counts), int(np.prod(counts, dtype=int))
    file_of, names = np.arange(count) % len(files), tuple(files)
    first = np.array([files[name] for name in names])
    offsets = first[file_of] + np.arange(count) // len(files) * nbytes
    return ChunkSeries(
        prefix.encode(), tails, names, file_of[tails.order], offsets[tails.order], nbytes
    )


@given(st.lists(st.integers(0, (1 << 62) - 1), max_size=20))
def test_many_varints_are_one_after_the_other(numbers: list[int]) -> None:
    assert ocdbt.varints(numbers) == b"".join(map(ocdbt.varint, numbers))
    assert ocdbt.varints(np.array(numbers, np.int64)) == ocdbt.varints(iter(numbers))


@given(st.lists(st.integers(1, 12), max_size=3))
def test_tails_are_the_keys_of_a_grid_in_byte_order(counts: list[int]) -> None:
    tails = ocdbt.tails(tuple(counts))
    rebuilt, key = [tails.first], tails.first
    at = 0
    for shared, length in zip(tails.shared.tolist(), tails.lengths.tolist(), strict=True):
        key = key[:shared] + tails.suffixes[at : at + length]
        at += length
        rebuilt.append(key)
    chunks = ["/".join(map(str, index)).encode() for index in product(*map(range, counts))]
    assert rebuilt == sorted(chunks)
    assert [chunks[i] for i in tails.order] == rebuilt
    assert rebuilt[-1] == tails.last


def dumped(base: ts.KvStore, node: str | None = None) -> Any:
    return ts.ocdbt.dump(base, node).result()


def body(framed: bytes) -> bytes:
    """What a frame holds, uncompressed."""
    assert struct.unpack("<Q", framed[4:12]) == (len(framed),)
    return zstandard.ZstdDecompressor().decompressobj().decompress(framed[14:-4])


KEYS = st.text("abc/0", min_size=1, max_size=6)


@given(
    inline=st.dictionaries(KEYS, st.binary(max_size=5), max_size=12),
    runs=st.dictionaries(
        KEYS.map("run-{}/".format),
        st.tuples(
            st.lists(st.integers(1, 4), min_size=1, max_size=3),
            st.dictionaries(
                st.sampled_from(["f", "d/g", "d/gé %", "z"]), st.integers(0, 300), min_size=1
            ),
            st.integers(1, 40),
        ),
        max_size=4,
    ),
    per_leaf=st.integers(1, 30),
)
def test_tensorstore_dumps_lists_and_reads_what_was_encoded(
    tmp_path_factory: pytest.TempPathFactory,
    inline: dict[str, bytes],
    runs: dict[str, tuple[list[int], dict[str, int], int]],
    per_leaf: int,
) -> None:
    folder = tmp_path_factory.mktemp("ocdbt")
    rng = np.random.default_rng(1)
    contents = {name: rng.bytes(4000) for name in ("f", "d/g", "d/gé %", "z")}
    (folder / "d").mkdir()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    items: list[ocdbt.Item] = [Inline(k.encode(), v) for k, v in inline.items()]
    wanted = {key.encode(): value for key, value in inline.items()}
    for prefix, (counts, files, nbytes) in runs.items():
        made = run(prefix, tuple(counts), files, nbytes)
        items.append(made)
        for key, at, file in zip(_keys(made), made.offsets, made.file_of, strict=True):
            wanted[key] = contents[made.files[file]][at : at + nbytes]
    if not items:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ocdbt, "LEAF_ENTRIES", per_leaf)
        database = ocdbt.database(items, NODES)
    opened = store(folder, database)
    assert sorted(opened.list().result()) == sorted(wanted)
    assert {key: opened[key] for key in wanted} == wanted
    assert database.keys == len(wanted)
    _check_tree(ts.KvStore.open(f"file://{folder}/").result(), database, wanted)


def _keys(made: ChunkSeries) -> list[bytes]:
    key, found, at = made.tails.first, [made.tails.first], 0
    for shared, length in zip(made.tails.shared, made.tails.lengths, strict=True):
        key = key[:shared] + made.tails.suffixes[at : at + length]
        at += int(length)
        found.append(key)
    return [made.prefix + tail for tail in found]


def _check_tree(base: ts.KvStore, database: ocdbt.Database, wanted: dict[bytes, bytes]) -> None:
    """The counts that no reader needs are right as well, and TensorStore encodes the same."""
    manifest = dumped(base)
    assert body(ts.ocdbt.undump_manifest(manifest)) == body(database.manifest)
    (version,) = manifest["versions"]
    root = version["root"]
    assert version["root_height"] == 1
    assert root["statistics"]["num_keys"] == len(wanted)
    node = dumped(base, root["location"])
    found: dict[bytes, Any] = {}
    tree_bytes = int(root["location"].rsplit(":", 1)[1])
    value_bytes = 0
    for child in node["entries"]:
        leaf = dumped(base, child["location"])
        prefix = child["subtree_common_prefix"]
        own = {prefix + entry["key"]: entry for entry in leaf["entries"]}
        assert next(iter(own)) == child["key"]
        assert child["statistics"]["num_keys"] == len(own)
        nbytes = int(child["location"].rsplit(":", 1)[1])
        assert child["statistics"]["num_tree_bytes"] == nbytes
        held = [e["indirect_value"] for e in own.values() if "indirect_value" in e]
        values = sum(int(value.rsplit(":", 1)[1]) for value in held)
        assert child["statistics"]["num_indirect_value_bytes"] == values
        tree_bytes, value_bytes = tree_bytes + nbytes, value_bytes + values
        found |= own
    assert sorted(found) == sorted(wanted)
    assert root["statistics"]["num_tree_bytes"] == tree_bytes == len(database.nodes)
    assert root["statistics"]["num_indirect_value_bytes"] == value_bytes


@pytest.mark.parametrize(
    "items",
    [
        [Inline(b"a", b"1"), Inline(b"a", b"2")],
        [run("a/", (3,), {"f": 0}, 1), Inline(b"a/x", b"")],
        [run("a/", (3,), {"f": 0}, 1), run("a/1", (2,), {"f": 0}, 1)],
    ],
)
def test_keys_that_stand_twice_are_refused(items: list[ocdbt.Item]) -> None:
    with pytest.raises(ValueError, match="stands twice"):
        ocdbt.database(items, NODES)


def test_the_same_items_make_the_same_bytes_in_any_order() -> None:
    items: list[ocdbt.Item] = [
        Inline(b"b", b"2"),
        run("a/", (3, 20), {"f": 7}, 3),
        Inline(b"", b"0"),
    ]
    assert ocdbt.database(items, NODES) == ocdbt.database(items[::-1], NODES)


def test_damage_to_the_index_is_noticed_by_tensorstore(tmp_path: Path) -> None:
    items: list[ocdbt.Item] = [Inline(b"a", b"1"), run("b/", (4,), {"f": 0}, 3)]
    database = ocdbt.database(items, NODES)
    for at in range(0, len(database.nodes), 7):
        broken = bytearray(database.nodes)
        broken[at] ^= 0x10
        write(tmp_path, ocdbt.Database(bytes(broken), database.manifest, 5))
        opened = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{tmp_path}/"}).result()
        with pytest.raises(ValueError, match="Error"):
            opened.list().result()
