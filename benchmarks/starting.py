"""Start-up, and what costs only headers: plans, inspections and checks of whole releases."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.measuring import GROKPACK, by_turns, grokpack, watch

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_SECONDS = 2.0
_GOOD = (0, 5)  # a plan is shown where the disk is too small for it, too
_GGUF = ("convert", "--to", "gguf", "--tokenizer", "none")
_HEADERS = {
    "grok-1": (
        ("inspect",),
        ("verify",),
        ("reshard", "--tp", "8", "--dry-run"),
        (*_GGUF, "--type", "q8_0", "--dry-run"),
        ("quantize", "--bits", "4", "--dry-run"),
    ),
    "grok-2": (
        ("inspect",),
        ("verify",),
        ("reshard", "--tp", "64", "--dry-run"),
        (*_GGUF, "--type", "bf16", "--dry-run"),
        ("quantize", "--bits", "4", "--tokenizer", "none", "--dry-run"),
    ),
}


def bench_starting(bench: Bench) -> None:
    """`--help`, less an empty interpreter under the same watch."""
    helped, bare = by_turns(
        bench.turns,
        lambda: watch([*GROKPACK, "--help"]).seconds,
        lambda: watch([sys.executable, "-c", "pass"]).seconds,
    )
    net = [one - other for one, other in zip(helped, bare, strict=True)]
    bench.figure("--help, less an empty interpreter", net, "s", at_most=0.2)


def bench_headers(bench: Bench) -> None:
    """Commands on the whole geometry of both releases, as holes: no weight is read."""
    turns = 1 if bench.quick else bench.turns
    for model, commands in _HEADERS.items():
        source = bench.sparse(model)
        for words in commands:
            runs = [grokpack(words[0], source, *words[1:], good=_GOOD) for _ in range(turns)]
            name = " ".join(words).replace(" --tokenizer none", "")
            seconds = [run.seconds for run in runs]
            bench.figure(f"{model}, sparse: {name}", seconds, "s", at_most=_SECONDS)
            bench.peak("  peak resident memory", runs, 256)
