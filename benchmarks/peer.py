"""Quantizing to GGUF beside llama.cpp's own quantizer, where that is at hand.

`LLAMA_PYTHON` names an interpreter that has llama-cpp-python; `make oracle-llama` makes one. Its
`llama_model_quantize` is what the program llama-quantize calls.
"""

from __future__ import annotations

import os
import statistics
from typing import TYPE_CHECKING

from benchmarks.measuring import grokpack, remove, row, seconds_and_peak

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "LLAMA_PYTHON"
THREADS = 2
TURNS = 3
_QUANTIZE = """
import ctypes, sys
import llama_cpp
silent = llama_cpp.llama_log_callback(lambda *_: None)
llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
parameters = llama_cpp.llama_model_quantize_default_params()
parameters.ftype, parameters.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, int(sys.argv[3])
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), parameters))
"""


def bench_peer(work: Path) -> None:
    """The same Q4_0 of one model: ours from ckpt-0, theirs from its GGUF in bfloat16, ready."""
    figure = "quantize --to gguf --type q4_0 --method rtn, times llama-quantize"
    interpreter = os.environ.get(VARIABLE)
    if not interpreter:
        row(figure, f"no {VARIABLE}: not measured", "1 x")
        return
    source, plain, out = work / "m", work / "plain.gguf", work / "out.gguf"
    grokpack("synth", source, "--preset", "medium", "-q")
    to_gguf = ("--to", "gguf", "--tokenizer", "none", "--type")
    grokpack("convert", source, *to_gguf, "bf16", "-o", plain, "-q")
    ours, theirs = [], []
    for _ in range(TURNS + 1):
        remove(out)
        how = ("q4_0", "--method", "rtn", "--workers", str(THREADS))
        ours.append(grokpack("quantize", source, *to_gguf, *how, "-o", out, "-q")[0])
        remove(out)
        command = [interpreter, "-c", _QUANTIZE, str(plain), str(out), str(THREADS)]
        theirs.append(seconds_and_peak(command)[0])
    best, other = (statistics.median(times[1:]) for times in (ours, theirs))
    row(figure, f"{other / best:.1f} x", "1 x")
    row("  seconds, theirs and ours, start-up included", f"{other:.2f}, {best:.2f}", "")
    for path in (source, plain, out):
        remove(path)
