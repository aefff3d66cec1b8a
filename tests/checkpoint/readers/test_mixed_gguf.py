"""GGUF as others publish it: each tensor in a type of its own, the embedding too."""

from __future__ import annotations

import sys
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import whole_box
from grokpack.kernels.float_casts import to_f32
from grokpack.models.architecture import Geometry
from grokpack.verification.compare import compare
from tests.checkpoint.readers.test_gguf_files import Tensor, separate, write
from tests.conversion.writers.test_gguf import convert
from tests.support.checkpoints import synthesize

if TYPE_CHECKING:
    from collections.abc import Iterable

GEOMETRY = Geometry(
    vocab=64, d_model=256, layers=4, experts=2, ffn=256, q_width=256, kv_width=64, head_dim=32
)
TYPES = [gguf.GGMLQuantizationType(n) for n in gguf.quants._type_traits]
KEPT = ("norm", "gate_inp")
HEADS = {"Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_XS": (0,)}
"""Where blocks keep their float16 numbers."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("plain")
    return convert(synthesize(base / "in", GEOMETRY), base / "f32.gguf", type="f32")


def mixed(tensors: Iterable[Tensor], types: Iterable[Any], heads: bool = False) -> Iterable[Tensor]:
    """Random blocks of one type after another; with moderate scales, if these can be set."""
    rng, kinds = np.random.default_rng(5), cycle(types)
    for name, data, kind in tensors:
        if any(part in name for part in KEPT):
            yield name, data, kind
            continue
        own = next(kinds)
        weights, nbytes = gguf.GGML_QUANT_SIZES[own]
        shape = (*data.shape[:-1], data.shape[-1] // weights * nbytes)
        blocks = rng.integers(0, 256, shape, dtype=np.uint8)
        for at in HEADS[own.name] if heads else ():
            each = blocks.reshape(-1, nbytes)
            each[:, at : at + 2] = np.full(1, 2.0**-9, np.float16).view(np.uint8)
        yield name, blocks, own


@pytest.mark.parametrize("apart", [False, True])
def test_every_type_is_read_as_llama_cpps_package_reads_it(
    plain: Path, tmp_path: Path, apart: bool
) -> None:
    def change(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
        made = mixed(tensors, TYPES)
        return separate(made) if apart else made

    path = write(tmp_path / "x.gguf", plain, change)
    checkpoint = open_checkpoint(str(path))
    reader = ArrayReader(checkpoint)
    stored = {t.name: t for t in gguf.GGUFReader(path).tensors}
    assert {t.tensor_type for t in stored.values()} >= set(TYPES)
    for entry in checkpoint.model.tensors():
        spec = checkpoint.tensors[entry.name].values
        own = reader.read(entry.name, whole_box(spec.shape))
        found = to_f32(np.ascontiguousarray(own), spec.dtype)
        names = [entry.gguf]
        if apart and entry.rule.stacked:
            names = [entry.gguf.replace("_exps", f".{n}") for n in range(GEOMETRY.experts)]
        with np.errstate(all="ignore"):
            wanted = np.stack(
                [gguf.quants.dequantize(stored[n].data, stored[n].tensor_type) for n in names]
            )
        wanted = wanted.reshape(*wanted.shape[not entry.rule.stacked or not apart :])
        if entry.rule.quantized or entry.rule.role == "router":
            wanted = wanted.swapaxes(-1, -2)
        np.testing.assert_array_equal(found, wanted, err_msg=entry.name)


def test_a_mixed_file_equals_its_products(plain: Path, tmp_path: Path) -> None:
    types = [gguf.GGMLQuantizationType[name] for name in HEADS]
    theirs = write(tmp_path / "x.gguf", plain, lambda tensors: mixed(tensors, types, heads=True))
    ours = convert(theirs, tmp_path / "f32.gguf", type="f32")
    assert not survey(str(theirs)).findings
    found = compare(open_checkpoint(str(theirs)), open_checkpoint(str(ours)))
    assert found.state == "equal"


def test_what_only_the_package_decodes_says_so_without_it(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = [gguf.GGMLQuantizationType.IQ2_XXS]
    path = write(tmp_path / "x.gguf", plain, lambda tensors: mixed(tensors, types))
    monkeypatch.setitem(sys.modules, "gguf", None)
    checkpoint = open_checkpoint(str(path))
    entry = next(e for e in checkpoint.model.tensors() if e.rule.quantized)
    with pytest.raises(GrokpackError, match="gguf") as caught:
        ArrayReader(checkpoint).read(entry.name, whole_box(GEOMETRY.shape(entry.rule)))
    assert caught.value.code == "GP307"


@pytest.mark.parametrize("trained_apart", [False, True])
def test_a_head_of_another_type_is_compared_with_the_embedding(
    plain: Path, tmp_path: Path, trained_apart: bool
) -> None:
    kind = gguf.GGMLQuantizationType.Q5_0

    def change(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
        for name, data, own in tensors:
            yield name, data, own
            if name == "token_embd.weight":
                rows = data[::-1] if trained_apart else data
                yield "output.weight", gguf.quants.quantize(rows, kind), kind

    found = survey(str(write(tmp_path / "x.gguf", plain, change)))
    assert [finding.code for finding in found.findings] == ["GP218"] * trained_apart
