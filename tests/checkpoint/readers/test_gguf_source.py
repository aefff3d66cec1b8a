"""Reading GGUF: what was re-packaged comes back to the byte; what is broken or hostile does not."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.arrays import bytes_of
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Box
from grokpack.execution.run import execute
from grokpack.formats import gguf_header
from tests.conversion.writers.test_gguf import BLOCKS, convert
from tests.support.checkpoints import GOLDEN, synthesize, tensor_files, tree
from tests.support.weight_formula import exact_weights


def back(source: Path, out: Path, to: str = "ckpt-0", **options: Any) -> Path:
    execute(plan_convert(open_checkpoint(str(source)), to, ConvertOptions(**options)), str(out))
    return out


@pytest.mark.parametrize("split", [None, 1 << 19])
@pytest.mark.parametrize("source", ["golden", "synthetic"])
def test_q8_0_comes_back_to_the_byte(tmp_path: Path, source: str, split: int | None) -> None:
    folder = GOLDEN if source == "golden" else synthesize(tmp_path / "in", BLOCKS)
    there = tmp_path / ("split" if split else "x.gguf")
    convert(folder, there, type="q8_0", embedding="f32", shard_bytes=split)
    returned = back(there, tmp_path / "back")
    assert tensor_files(returned / "ckpt-0") == tensor_files(folder / "ckpt-0")


@pytest.mark.parametrize("to", ["gguf", "hf"])
def test_reading_ahead_gives_the_same_rows_whatever_the_box(tmp_path: Path, to: str) -> None:
    options = {"type": "q8_0", "tokenizer": "none"} if to == "gguf" else {}
    there = back(synthesize(tmp_path / "in", BLOCKS), tmp_path / "x.gguf", to, **options)
    checkpoint = open_checkpoint(str(there))
    whole, ahead = ArrayReader(checkpoint), ArrayReader(checkpoint, "numpy", 1 << 13)
    for name in checkpoint.views:
        if "scale" not in name and "embed" not in name:
            shape = checkpoint.tensors[name].values.shape
            lead = (0,) * (len(shape) - 2)
            ones = (1,) * len(lead)
            wanted = whole.read(name, Box((0,) * len(shape), (*ones, *shape[-2:])))
            for row, count in ((0, 1), (1, 1), (2, 5), (7, 1), (3, 2), (shape[-2] - 1, 1)):
                box = Box((*lead, row, 0), (*ones, count, shape[-1]))
                found = bytes_of(ahead.read(name, box))
                assert found == bytes_of(wanted[..., row : row + count, :]), (name, row)


def test_constants_come_back_with_all_their_digits(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "in", BLOCKS)
    there = convert(source, tmp_path / "x.gguf", type="q8_0")
    returned = back(there, tmp_path / "back")
    assert (returned / "config.json").read_bytes() == (source / "config.json").read_bytes()


def test_a_gguf_of_a_gguf_is_the_same_file(tmp_path: Path) -> None:
    one = convert(GOLDEN, tmp_path / "one.gguf", type="q8_0")
    two = convert(one, tmp_path / "two.gguf", type="q8_0")
    assert one.read_bytes() == two.read_bytes()


def test_through_bf16_a_folder_is_the_same_as_straight(tmp_path: Path) -> None:
    there = convert(GOLDEN, tmp_path / "x.gguf", type="bf16")
    straight, around = back(GOLDEN, tmp_path / "a", "hf"), back(there, tmp_path / "b", "hf")
    files = [
        {n: d for n, d in tree(p).items() if n.endswith("tensors")} for p in (straight, around)
    ]
    assert files[0] == files[1]
    assert files[0]


def quantize_anew(source: Path, out: Path) -> Path:
    """A Q8_0 file as llama.cpp makes one: each block has a scale of its own."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, "grok")
    for name, field in reader.fields.items():
        if name.startswith("grok.") and field.types:
            writer.add_key_value(name, field.contents(), field.types[0])
    for tensor in reader.tensors:
        kind = gguf.GGMLQuantizationType.F32
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if "norm" not in tensor.name and "gate_inp" not in tensor.name:
            kind = gguf.GGMLQuantizationType.Q8_0
            data = gguf.quants.quantize(data, kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def test_blocks_that_others_quantized_are_read_as_products(tmp_path: Path) -> None:
    source = convert(GOLDEN, tmp_path / "f32.gguf", type="f32")
    theirs = quantize_anew(source, tmp_path / "theirs.gguf")
    checkpoint = open_checkpoint(str(theirs))
    assert all(t.scales is None for t in checkpoint.tensors.values())
    folder = back(theirs, tmp_path / "ck")
    found, exact = exact_weights(folder), exact_weights(GOLDEN)
    for name, values in found.items():
        np.testing.assert_allclose(values, exact[name], atol=np.abs(exact[name]).max() / 100)
    with pytest.raises(GrokpackError, match="int8 codes") as caught:
        convert(theirs, tmp_path / "y.gguf", type="q8_0")
    assert caught.value.code == "GP306"


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
    with pytest.raises(GrokpackError, match="llama") as caught:
        survey(str(tmp_path / "x.gguf"))
    assert caught.value.code == "GP219"


def test_a_type_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = convert(GOLDEN, tmp_path / "x.gguf", type="f32")
    data = bytearray(path.read_bytes())
    at = data.index(b"token_embd.weight") + len("token_embd.weight") + 4 + 16
    assert struct.unpack_from("<I", data, at) == (0,)
    struct.pack_into("<I", data, at, 15)  # Q8_K
    path.write_bytes(data)
    with pytest.raises(GrokpackError, match="Q8_K") as caught:
        survey(str(path))
    assert caught.value.code == "GP219"


def test_a_missing_file_of_a_split_is_named(tmp_path: Path) -> None:
    folder = convert(GOLDEN, tmp_path / "split", type="q8_0", shard_bytes=1 << 20)
    gone = sorted(folder.glob("*.gguf"))[2]
    gone.unlink()
    assert gone.name in {f.file for f in survey(str(folder)).findings}
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(str(folder))
    assert caught.value.code == "GP202"


class Memory:
    """Bytes in memory, as a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, nbytes: int) -> bytes:
        assert offset + nbytes <= len(self._data), "asked past the end"
        return self._data[offset : offset + nbytes]


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = convert(GOLDEN, tmp_path_factory.mktemp("header") / "x.gguf", type="q8_0")
    return path.read_bytes()


def test_every_cut_of_a_header_is_refused_with_a_code(header: bytes) -> None:
    length = gguf_header.read(Memory(header), "x").literal_bytes
    for size in range(length + 40):
        with pytest.raises(GrokpackError) as caught:
            gguf_header.read(Memory(header[:size]), "x")
        assert caught.value.code == "GP209"


@given(st.data())
def test_changed_bytes_of_a_header_end_in_a_code_or_a_header(header: bytes, data: Any) -> None:
    length = 3000
    changed = bytearray(header)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, length))] = data.draw(st.integers(0, 255))
    try:
        offsets = gguf_header.read(Memory(bytes(changed)), "x").offsets.values()
        outcome = all(offset < len(changed) for offset in offsets)
    except GrokpackError as error:
        outcome = error.code in ("GP209", "GP219", "GP235")
    assert outcome


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [(8, "<Q", 1 << 63), (16, "<Q", 1 << 63), (8, "<Q", 60000), (24, "<Q", 1 << 62)],
    ids=["tensors", "keys", "more tensors than there are", "length of a key"],
)
def test_huge_counts_cost_nothing(header: bytes, at: int, form: str, value: int) -> None:
    changed = bytearray(header)
    struct.pack_into(form, changed, at, value)
    with pytest.raises(GrokpackError) as caught:
        gguf_header.read(Memory(bytes(changed)), "x")
    assert caught.value.code == "GP209"


def key_of(name: bytes, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ([key_of(b"a", 9, struct.pack("<IQ", 8, (1 << 21) + 1) + bytes(1 << 20))], "texts"),
        (
            [
                key_of(b"%d" % n, 9, struct.pack("<IQ", 8, 1 << 20) + bytes(8 << 20))
                for n in range(3)
            ],
            "arrays of more than 2,097,152 texts",
        ),
        (
            [key_of(b"a", 9, struct.pack("<IQ", 0, 49 << 20) + bytes(49 << 20))],
            "more than 50,331,648",
        ),
        (
            [key_of(b"%d" % n, 8, struct.pack("<Q", 1 << 20) + bytes(1 << 20)) for n in range(17)],
            "texts of more than 16,777,216 bytes",
        ),
    ],
    ids=["texts", "texts of several arrays", "bytes", "bytes that are kept"],
)
def test_more_than_any_model_has_is_refused_before_it_costs(keys: list[bytes], what: str) -> None:
    begins = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys))
    with pytest.raises(GrokpackError, match=what) as caught:
        gguf_header.read(Memory(begins + b"".join(keys)), "x")
    assert caught.value.code == "GP235"


def test_a_split_of_more_files_than_any_model_has_is_not_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-99999.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(GrokpackError, match="more than 4,096 files") as caught:
        survey(str(path))
    assert caught.value.code == "GP235"
