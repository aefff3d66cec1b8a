"""The kernels of each type of GGUF's blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.kernels import fp4, ggml, ggml_k, ggml_products

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class BlockKernels:
    """Quantizers of one type of blocks, of `kernels.ggml`: see there for their arguments.

    Attributes:
        quantize: Leaves ggml's own bytes.
        search: As `quantize`, with less error than ggml's; None where there is no such search.
        weighted: As `quantize`, with errors weighed by importance as ggml does; None where that has
            no effect on ggml's bytes, or `search` weighs them.
    """

    quantize: Callable[..., None]
    search: Callable[..., None] | None = None
    weighted: Callable[..., None] | None = None


def _own(kernel: Callable[..., None]) -> BlockKernels:
    return BlockKernels(kernel, weighted=kernel)


KERNELS = {
    "q8_0": BlockKernels(ggml.quantize_q8_0),
    "q4_0": BlockKernels(ggml.quantize_q4_0, ggml.search_q4_0),
    "q4_1": BlockKernels(ggml.quantize_q4_1, ggml.search_q4_1),
    "q4_k": BlockKernels(ggml.quantize_q4_k, weighted=ggml_k.quantize_q4_k),
    "q5_0": _own(ggml_k.quantize_q5_0),
    "q5_1": _own(ggml_k.quantize_q5_1),
    "q2_k": _own(ggml_k.quantize_q2_k),
    "q3_k": _own(ggml_k.quantize_q3_k),
    "q5_k": _own(ggml_k.quantize_q5_k),
    "q6_k": _own(ggml_k.quantize_q6_k),
    "iq4_nl": _own(ggml_k.quantize_iq4_nl),
    "iq4_xs": _own(ggml_k.quantize_iq4_xs),
    "mxfp4": BlockKernels(fp4.quantize_mxfp4, fp4.search_mxfp4),
}
"""Quantizers by the type's name, in lower case."""

PRODUCTS = {
    "q8_0": ggml_products.products_q8_0,
    "q4_0": ggml_products.products_q4_0,
    "q4_1": ggml_products.products_q4_1,
    "q4_k": ggml_products.products_q4_k,
    "q5_0": ggml_products.products_q5_0,
    "q5_1": ggml_products.products_q5_1,
    "q2_k": ggml_products.products_q2_k,
    "q3_k": ggml_products.products_q3_k,
    "q5_k": ggml_products.products_q5_k,
    "q6_k": ggml_products.products_q6_k,
    "iq4_nl": ggml_products.products_iq4_nl,
    "iq4_xs": ggml_products.products_iq4_xs,
    "mxfp4": ggml_products.products_mxfp4,
    "nvfp4": ggml_products.products_nvfp4,
}
"""Decoders by the type's name. Other types are decoded by the `gguf` package."""
