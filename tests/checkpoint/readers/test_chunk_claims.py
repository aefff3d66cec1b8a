"""What the metadata and the chunks of stores claim: none of it costs what it claims."""

from __future__ import annotations

import gzip
import json
import shutil
import tracemalloc
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import grokpack
from grokpack.checkpoint.extract import extract
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.readers import chunked_store_reader
from grokpack.checkpoint.reading_memory import refuse_chunks
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats.zarr_metadata_parsing import ZarrArrayMetadata, misplaced
from grokpack.formats.zarr_shards import ABSENT
from grokpack.verification.compare import compare
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import statistics, verify_values
from tests.support.checkpoints import synthesize
from tests.support.conversions import convert
from tests.support.fuzzing import TINY

EMBEDDING = "language_model/in_out_embed/embeddings"
NORM = "transformer/decoder_layer_0/rms_norm"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store of each kind."""
    folder = tmp_path_factory.mktemp("stores")
    origin = synthesize(folder / "m", TINY)
    for form in ("zarr", "orbax"):
        convert(origin, folder / form, form)
    return folder


@pytest.fixture
def folder(stores: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stores / "zarr", tmp_path / "z")


def described(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the metadata of an array, and take its chunks and the manifest away."""
    (folder / "grokpack.json").unlink(missing_ok=True)
    path = folder / name / "zarr.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    shutil.rmtree(path.parent / "c")
    return path.parent / "c"


def unsharded(chunk: list[int], *codecs: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["chunk_grid"]["configuration"]["chunk_shape"] = chunk
        plain = {"name": "bytes", "configuration": {"endian": "little"}}
        document["codecs"] = [plain, *codecs]

    return change


def refusal(work: Callable[[], object]) -> str:
    """The code of what is raised, and that no more than some megabytes were taken until then."""
    tracemalloc.start()
    try:
        with pytest.raises(GrokpackError) as caught:
            work()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20
    return caught.value.code


# Chunks


@pytest.mark.parametrize("form", ["zarr", "orbax"])
def test_chunks_too_large_to_be_decoded_are_refused_by_whatever_reads_values(
    stores: Path, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ZarrArrayMetadata, "chunk_bytes", 200 << 20)
    found = open_checkpoint(str(stores / form))
    whole = open_checkpoint(str(stores / "m"))
    verdict = verify_structure(survey(str(stores / form)))
    arrays = grokpack.open(str(stores / form))
    readers: list[Callable[[], object]] = [
        lambda: verify_values(verdict),
        lambda: statistics(found),
        lambda: compare(found, whole),
        lambda: compare(whole, found),
        lambda: extract(found, [EMBEDDING], str(tmp_path / "x.npy")),
        lambda: arrays[EMBEDDING],
        arrays.dequantized,
    ]
    for read in readers:
        assert refusal(read) == "GP240"
    assert not list(tmp_path.iterdir())
    refuse_chunks(found, 2 << 30)  # it can be copied where more is allowed


@pytest.mark.parametrize(
    ("codec", "encode"),
    [
        ({"name": "zstd", "configuration": {"level": 3, "checksum": False}}, zstandard.compress),
        ({"name": "gzip", "configuration": {"level": 5}}, gzip.compress),
    ],
    ids=["zstd", "gzip"],
)
def test_a_chunk_is_decoded_no_further_than_its_metadata_says(
    folder: Path, codec: dict[str, Any], encode: Callable[[bytes], bytes]
) -> None:
    """TensorStore decodes as a stream: this holds that it goes on doing so."""
    place = described(folder, EMBEDDING, unsharded([32, 64], codec))
    (place / "0").mkdir(parents=True)
    chunk = place / "0" / "0"
    chunk.write_bytes(encode(bytes(64 << 20)))
    assert chunk.stat().st_size < 80_000
    before = peak_bytes()
    verdict = verify_values(verify_structure(survey(str(folder))))
    assert peak_bytes() - before < 48 << 20
    assert any(f.code in ("GP104", "GP115") for f in verdict.findings)


def peak_bytes() -> int:
    """Resident memory of this process at its highest."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


BLOSC = {
    "name": "blosc",
    "configuration": {
        "cname": "zstd", "clevel": 5, "shuffle": "noshuffle", "blocksize": 0, "typesize": 4,
    },
}  # fmt: skip


@pytest.mark.parametrize("sharded", [False, True])
def test_a_chunk_of_blosc_claims_no_more_than_its_metadata(folder: Path, sharded: bool) -> None:
    """blosc's head says what is set aside for a chunk."""
    codec = {"name": "sharding_indexed", "configuration": {
        "chunk_shape": [16, 64], "index_location": "end",
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, BLOSC],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    }}  # fmt: skip

    def change(document: dict[str, Any]) -> None:
        unsharded([32, 64], BLOSC)(document)
        document["codecs"] = [codec] if sharded else document["codecs"]

    place = described(folder, EMBEDDING, change)
    spec = {"driver": "zarr3", "kvstore": f"file://{folder / EMBEDDING}/"}
    values = np.arange(32 * 64, dtype=np.float32).reshape(32, 64)
    ts.open(spec, open=True).result().write(values).result()
    sound = survey(str(folder))
    assert sound.whole, sound.findings
    path = place / "0" / "0"
    data = bytearray(path.read_bytes())
    at = len(data) - 32 - 16 if sharded else None  # the second chunk's place
    start = 4 if at is None else int.from_bytes(data[-16:-8], "little") + 4
    data[start : start + 4] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    (found,) = [f for f in survey(str(folder)).findings if f.severity == "error"]
    assert (found.code, found.found) == ("GP104", "1,073,741,824 bytes")


def test_blosc_is_not_read_where_its_heads_cannot_be_seen(folder: Path) -> None:
    gzip = {"name": "gzip", "configuration": {"level": 1}}
    described(folder, EMBEDDING, unsharded([32, 64], BLOSC, gzip))
    found = {f.message for f in survey(str(folder)).findings}
    assert "chunks that another codec follows blosc in are not read" in found


def test_a_chunk_that_is_longer_than_its_shape_can_become_is_a_finding(folder: Path) -> None:
    codec = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
    place = described(folder, EMBEDDING, unsharded([32, 64], codec))
    (place / "0").mkdir(parents=True)
    with (place / "0" / "0").open("wb") as file:
        file.truncate(1 << 40)
    (found,) = [f for f in survey(str(folder)).findings if f.severity == "error"]
    assert (found.code, found.message) == ("GP104", "chunk is longer than its shape can become")


# Files


def test_files_that_are_only_claimed_cost_nothing(folder: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["shape"] = [1 << 16, 1 << 32]
        unsharded([1, 1])(document)

    place = described(folder, EMBEDDING, change)
    for key in ("0/0", "0/2", "65535/4294967295", "65536/0", "0/01", "00/1", "1", "x/1", "0/1/0"):
        (place / key).parent.mkdir(parents=True, exist_ok=True)
        if not (place / key).is_dir():
            (place / key).write_bytes(bytes(4))
    tracemalloc.start()
    found = survey(str(folder))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    missing = [f.file for f in found.findings if f.code == "GP101" and f.tensor == EMBEDDING]
    assert missing == [f"{EMBEDDING}/c/0/{n}" for n in (1, 3, 4, 5, 6)]
    assert peak < 8 << 20


@given(
    st.lists(st.integers(1, 12), max_size=3),
    st.sampled_from([("c", "/"), ("", "/"), ("", "."), ("c", ".")]),
)
def test_every_name_of_a_file_leads_to_its_place(counts: list[int], key: tuple[str, str]) -> None:
    shape = tuple(counts)
    array = ZarrArrayMetadata(
        ArraySpec(shape, DType.I8), (1,) * len(shape), (1,) * len(shape), 3, key
    )
    places = list(product(*map(range, shape)))
    assert list(array.places()) == places
    assert [array.place_of(array.key_of(place)) for place in places] == places
    assert array.place_of(array.key_of(shape)) is None or not shape
    for name in ("", "zarr.json", "c", "0/0/0/0", "-1", "²", "1" * 5000):
        place = array.place_of(name)
        assert place is None or array.key_of(place) == name


@pytest.mark.parametrize("inner", [[1, 1], [32, 1 << 15]])
def test_shards_of_more_chunks_than_any_array_needs_are_not_read(
    folder: Path, inner: list[int]
) -> None:
    """Also where a chunk of a shard is itself a shard."""

    def change(document: dict[str, Any]) -> None:
        document["chunk_grid"]["configuration"]["chunk_shape"] = [32, 1 << 16]
        codec = document["codecs"][0]
        deeper = json.loads(json.dumps(codec))
        codec["configuration"]["chunk_shape"] = inner
        if inner != [1, 1]:
            deeper["configuration"]["chunk_shape"] = [1, 1]
            codec["configuration"]["codecs"] = [deeper]

    described(folder, EMBEDDING, change)
    said = [f.message for f in survey(str(folder)).findings if f.code == "GP111"]
    assert said == [m for m in said if "chunks is not read; 1,048,576 are the most" in m]
    assert said


def test_indices_of_shards_are_read_up_to_a_bound(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert survey(str(folder)).whole
    monkeypatch.setattr(chunked_store_reader, "_MOST_INDEX_BYTES", 100)
    assert refusal(lambda: survey(str(folder))) == "GP235"


@pytest.mark.parametrize("form", ["zarr", "orbax"])
def test_a_store_that_claims_what_its_files_cannot_hold_is_refused(
    stores: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_store_reader, "_SMALL_BYTES", 1 << 10)
    assert survey(str(stores / form)).whole
    monkeypatch.setattr(chunked_store_reader, "_MOST_TIMES", 0.5)
    assert refusal(lambda: survey(str(stores / form))) == "GP235"


@given(st.data())
def test_an_index_is_sound_only_where_its_chunks_lie_apart_within_the_file(
    data: st.DataObject,
) -> None:
    """By a second implementation, which looks at one chunk after another."""
    number = st.one_of(st.integers(0, 40), st.sampled_from([ABSENT, ABSENT - 1, 1 << 63]))
    rows = data.draw(
        st.lists(st.one_of(st.tuples(number, number), st.just((ABSENT, ABSENT))), max_size=5)
    )
    outside = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    size, most = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 60))
    index = np.array(rows, np.uint64).reshape(-1, 2)
    found = misplaced(index, size, np.array(outside, bool), most)
    sound, taken = True, set[int]()
    for (start, length), beyond in zip(rows, outside, strict=True):
        if start == length == ABSENT:
            sound &= beyond
            continue
        bytes_ = set(range(start, start + length)) if start + length <= size else set()
        sound &= start + length <= size and 0 < length <= most and not bytes_ & taken
        taken |= bytes_
    assert (found is None) == sound


@given(st.data())
def test_the_chunks_beyond_an_array_are_told_apart(data: st.DataObject) -> None:
    axes = data.draw(st.integers(1, 3))
    draw = st.lists(st.integers(1, 5), min_size=axes, max_size=axes)
    shape, chunk, times = (tuple(data.draw(draw)) for _ in range(3))
    file = tuple(c * t for c, t in zip(chunk, times, strict=True))
    array = ZarrArrayMetadata(ArraySpec(shape, DType.I8), file, chunk, 3, ("c", "/"))
    for at in array.places():
        found = array.outside(at)
        for number, place in enumerate(product(*map(range, times))):
            first = [a * f + p * c for a, f, p, c in zip(at, file, place, chunk, strict=True)]
            assert found[number] == any(i >= n for i, n in zip(first, shape, strict=True))


def test_metadata_is_read_up_to_a_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokpack.checkpoint.readers.zarr_reader._MOST_DOCUMENTS", 5)
    assert refusal(lambda: survey(str(folder))) == "GP235"
    monkeypatch.setattr("grokpack.checkpoint.readers.zarr_reader._MOST_DOCUMENTS", 5000)
    monkeypatch.setattr("grokpack.checkpoint.readers.zarr_reader._DOCUMENTS_BYTES", 500)
    assert refusal(lambda: survey(str(folder))) == "GP235"


def test_folders_are_looked_through_up_to_a_bound(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.storage.local_backend.MOST_ENTRIES", 30)
    assert refusal(lambda: survey(str(folder))) == "GP235"
