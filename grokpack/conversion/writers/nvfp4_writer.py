"""Writer of NVFP4 for compressed-tensors: four-bit floats, an E4M3 scale for each 16."""

from __future__ import annotations

from functools import partial

from grokpack.conversion.writers.fp4_folder import Fp4Form, to_folder
from grokpack.conversion.writers.quantized_folder import QuantizedFolderOptions
from grokpack.conversion.writers.writer_row import QuantizingWriter
from grokpack.core.tensors import DType
from grokpack.kernels.fp4_blocks import NV_BLOCK

_FORM = Fp4Form(
    "nvfp4",
    NV_BLOCK,
    DType.F8_E4M3,
    fuses=True,
    settings={"type": "float", "strategy": "tensor_group", "scale_dtype": "torch.float8_e4m3fn"},
)

WRITER = QuantizingWriter(
    _FORM.name,
    "four-bit floats, a scale of 8 bits for each 16: compressed-tensors",
    (4,),
    frozenset({"importance"}),
    QuantizedFolderOptions,
    partial(to_folder, _FORM),
    lambda _bits, _options: _FORM.name,
)
