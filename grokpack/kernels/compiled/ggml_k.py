"""K-quants, IQ4 and Q5 with compiled searches: twins of `grokpack.kernels.ggml_k`."""

from __future__ import annotations

from grokpack.kernels.compiled._ggml import k_search
from grokpack.kernels.ggml_k import Quantizer

quantize_q5_0 = Quantizer("q5_0", k_search)
quantize_q5_1 = Quantizer("q5_1", k_search)
quantize_q2_k = Quantizer("q2_k", k_search)
quantize_q3_k = Quantizer("q3_k", k_search)
quantize_q4_k = Quantizer("q4_k", k_search)
quantize_q5_k = Quantizer("q5_k", k_search)
quantize_q6_k = Quantizer("q6_k", k_search)
quantize_iq4_nl = Quantizer("iq4_nl", k_search)
quantize_iq4_xs = Quantizer("iq4_xs", k_search)
