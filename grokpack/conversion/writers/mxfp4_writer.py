"""Writer of MXFP4 for compressed-tensors: four-bit floats, a power of two for each 32."""

from __future__ import annotations

from functools import partial

from grokpack.conversion.writers.fp4_folder import Fp4Form, to_folder
from grokpack.conversion.writers.quantized_folder import QuantizedFolderOptions
from grokpack.conversion.writers.writer_row import QuantizingWriter
from grokpack.core.tensors import DType
from grokpack.kernels.fp4_blocks import MX_BLOCK

_FORM = Fp4Form(
    "mxfp4",
    MX_BLOCK,
    DType.U8,
    fuses=False,
    settings={"type": "float", "strategy": "group", "scale_dtype": "torch.uint8"},
)

WRITER = QuantizingWriter(
    _FORM.name,
    "four-bit floats, a power of two for each 32: compressed-tensors",
    (4,),
    frozenset({"importance"}),
    QuantizedFolderOptions,
    partial(to_folder, _FORM),
    lambda _bits, _options: _FORM.name,
)
