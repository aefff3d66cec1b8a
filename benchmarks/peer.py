"""Quantizing to GGUF beside the program llama-quantize, where that is at hand.

`LLAMA_QUANTIZE` names it; `make oracle-llama` makes one. Both read the same GGUF in bfloat16, in
one thread and in two; what counts is the processor's time for a parameter, starts included.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring import Run, by_turns, grokpack, remove, watch

if TYPE_CHECKING:
    from benchmarks.bench import Bench

VARIABLE, PROGRAM = "LLAMA_QUANTIZE", "build/oracle-llama/llama.cpp/bin/llama-quantize"
THREADS = (1, 2)
_MODEL = (  # 0.2 billion parameters; rows of whole blocks of 256
    *("--layers", "1", "--d-model", "2048", "--ffn", "4096", "--experts", "8", "--vocab", "2048"),
    *("--heads", "16", "--kv-heads", "4", "--head-dim", "128"),
)
_PURE = ("--pure", "--token-embedding-type", "bf16")
_TYPES = {  # our options, llama-quantize's, and how often faster ours must be
    "q8_0": ((), (*_PURE, "Q8_0"), None),
    "q4_0": (("--method", "rtn"), (*_PURE, "Q4_0"), None),
    "q4_k_m": ((), ("Q4_K_M",), 4),
    "q5_k_m": ((), ("Q5_K_M",), 4),
    "q3_k_m": ((), ("Q3_K_M",), 4),
    "q2_k": ((), ("Q2_K",), 4),
    "q6_k": ((), ("Q6_K",), 4),
    "iq4_xs": ((), (*_PURE, "IQ4_XS"), 4),
    "mxfp4": (("--method", "rtn"), ("MXFP4_MOE",), None),
}


def bench_peer(bench: Bench) -> None:
    """Compare every type and mix that both make."""
    program = Path(os.environ.get(VARIABLE, PROGRAM)).resolve()
    if not program.is_file():
        bench.table.leave_out(bench.part, f"{VARIABLE} names no program llama-quantize")
        return
    source, plain, out = bench.work / "source", bench.work / "plain.gguf", bench.work / "out.gguf"
    to_gguf = ("--to", "gguf", "--tokenizer", "none", "--type")
    grokpack("synth", source, *_MODEL)
    grokpack("convert", source, *to_gguf, "bf16", "-o", plain)
    remove(source)
    millions = bench.parameters(plain) / 1e6
    for kind, (options, (*flags, name), reach) in _TYPES.items():
        for threads in THREADS:
            words = (*to_gguf, kind, *options, "--workers", str(threads))
            peer = [str(program), *flags, str(plain), str(out), name, str(threads)]

            def ours(words: tuple[str, ...] = words) -> Run:
                remove(out)
                return grokpack("quantize", plain, *words, "-o", out)

            def theirs(command: list[str] = peer) -> Run:
                remove(out)
                return watch(command)

            ours()  # kernels compiled
            own, other = by_turns(bench.turns, ours, theirs)
            said = f"quantize --type {kind}, {threads} threads"
            spent = [1e3 * run.processor / millions for run in own]
            bench.figure(f"{said}, processor time for a parameter", spent, "ns")
            ratios = [two.processor / one.processor for one, two in zip(own, other, strict=True)]
            bench.figure(f"{said}, times llama-quantize", ratios, "x", at_least=reach)
