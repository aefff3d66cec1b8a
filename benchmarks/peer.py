"""Quantizing to GGUF beside llama.cpp's own quantizer, where that is at hand.

`LLAMA_PYTHON` names an interpreter that has llama-cpp-python; `make oracle-llama` makes one. Its
`llama_model_quantize` is what the program llama-quantize calls.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks.measuring import Run, by_turns, grokpack, remove, watch

if TYPE_CHECKING:
    from benchmarks.bench import Bench

VARIABLE = "LLAMA_PYTHON"
THREADS = 2
_TYPES = {  # our options, llama.cpp's file type, and how often faster ours must be
    "q4_0": (("q4_0", "--method", "rtn"), "MOSTLY_Q4_0", 1),
    "q4_k": (("q4_k",), "MOSTLY_Q4_K_S", 4),
}
_QUANTIZE = """
import ctypes, sys
import llama_cpp
silent = llama_cpp.llama_log_callback(lambda *_: None)
llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
parameters = llama_cpp.llama_model_quantize_default_params()
parameters.ftype = getattr(llama_cpp, "LLAMA_FTYPE_" + sys.argv[4])
parameters.nthread = int(sys.argv[3])
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), parameters))
"""


def bench_peer(bench: Bench) -> None:
    """One model: ours from ckpt-0, theirs from its GGUF in bfloat16, ready."""
    interpreter = os.environ.get(VARIABLE)
    if not interpreter:
        bench.table.leave_out(bench.part, f"{VARIABLE} names no interpreter with llama-cpp-python")
        return
    source, plain, out = bench.medium(), bench.work / "plain.gguf", bench.work / "out.gguf"
    to_gguf = ("--to", "gguf", "--tokenizer", "none", "--type")
    grokpack("convert", source, *to_gguf, "bf16", "-o", plain)
    for kind, (options, file_type, reach) in _TYPES.items():
        words = (*to_gguf, *options, "--workers", str(THREADS))
        peer = [interpreter, "-c", _QUANTIZE, str(plain), str(out), str(THREADS), file_type]

        def ours(words: tuple[str, ...] = words) -> Run:
            remove(out)
            return grokpack("quantize", source, *words, "-o", out)

        def theirs(command: list[str] = peer) -> Run:
            remove(out)
            return watch(command)

        ours()  # kernels compiled
        own, other = by_turns(bench.turns, ours, theirs)
        ratios = [two.seconds / one.seconds for one, two in zip(own, other, strict=True)]
        bench.figure(f"quantize --type {kind}, times llama-quantize", ratios, "x", at_least=reach)
