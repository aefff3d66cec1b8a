"""The table of GGUF's types against llama.cpp's own package and against the kernels."""

from __future__ import annotations

import gguf
import pytest

from grokpack.core.ggml_types import KEEPING, QUANTIZING, GGMLType, default_type
from grokpack.kernels import ggml
from grokpack.kernels.block_kernels import KERNELS


@pytest.mark.parametrize("kind", GGMLType)
def test_numbers_and_sizes_are_ggmls(kind: GGMLType) -> None:
    own = gguf.GGMLQuantizationType[kind.name]
    assert own == kind.value
    assert gguf.GGML_QUANT_SIZES[own] == (kind.weights, kind.nbytes)
    names = [kind.name, f"MOSTLY_{kind.name}", f"MOSTLY_{kind.name}_S", f"ALL_{kind.name}"]
    assert kind.file_type in [member.value for member in gguf.LlamaFileType if member.name in names]
    assert GGMLType.numbered(kind.value) is kind


def test_every_type_of_blocks_has_its_kernels() -> None:
    assert set(KERNELS) == set(QUANTIZING)
    for name, kind in QUANTIZING.items():
        assert ggml.BLOCK_BYTES[name] == kind.nbytes
        kernels = KERNELS[name]
        assert kernels.quantize.__name__ == f"quantize_{name}"
        assert kernels.search is None or kernels.search.__name__ == f"search_{name}"
        assert kernels.dequantize.__name__ == f"products_{name}"


def test_each_number_of_bits_has_a_usual_type() -> None:
    assert [default_type(bits).word for bits in (4, 8)] == ["q4_0", "q8_0"]
    assert list(KEEPING) == ["q8_0", "bf16", "f16", "f32"]
    assert GGMLType.numbered(39) is None
