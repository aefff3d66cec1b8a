"""The table of GGUF's types against llama.cpp's own package and against the kernels."""

from __future__ import annotations

import gguf
import pytest

from grokpack.core.ggml_types import KEEPING, QUANTIZING, GGMLType, default_type
from grokpack.kernels import ggml
from grokpack.kernels.block_kernels import KERNELS, PRODUCTS


@pytest.mark.parametrize("kind", GGMLType)
def test_numbers_and_sizes_are_ggmls(kind: GGMLType) -> None:
    own = gguf.GGMLQuantizationType[kind.name]
    assert own == kind.value
    assert gguf.GGML_QUANT_SIZES[own] == (kind.weights, kind.nbytes)
    endings = ("", "_S", "_MOE")
    names = [f"ALL_{kind.name}", *(f"MOSTLY_{kind.name}{ending}" for ending in endings)]
    assert kind.file_type in [member.value for member in gguf.LlamaFileType if member.name in names]
    assert GGMLType.numbered(kind.value) is kind


def test_every_type_of_blocks_has_its_kernels() -> None:
    assert set(KERNELS) == set(QUANTIZING)
    for name, kind in QUANTIZING.items():
        assert ggml.BLOCK_BYTES.get(name, kind.nbytes) == kind.nbytes
        kernels = KERNELS[name]
        assert kernels.weighted is None or kernels.weighted.__name__ == f"quantize_{name}"
        assert kernels.quantize.__name__ == f"quantize_{name}"
        assert kernels.search is None or kernels.search.__name__ == f"search_{name}"


def test_every_type_of_blocks_is_decoded_by_a_kernel_or_by_the_gguf_package() -> None:
    blocks = {kind.word for kind in GGMLType if kind.bits is not None}
    by_package = {own.name.lower() for own in gguf.quants._type_traits}
    assert set(QUANTIZING) <= set(PRODUCTS) <= blocks == blocks & (set(PRODUCTS) | by_package)
    assert all(own.__name__ == f"products_{name}" for name, own in PRODUCTS.items())


def test_each_number_of_bits_has_a_usual_type() -> None:
    assert [default_type(bits).word for bits in (2, 3, 4, 5, 6, 8)] == [
        *("q2_k", "q3_k", "q4_0", "q5_k", "q6_k", "q8_0")
    ]
    assert list(KEEPING) == ["q8_0", "bf16", "f16", "f32"]
    assert GGMLType.numbered(41) is None
