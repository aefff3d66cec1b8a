"""Every route from a checkpoint to an output, against `cp -r` in the same turn.

What starting takes is off: it is what the same command takes on a checkpoint of almost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.bench import MODELS
from benchmarks.measuring import GB, Run, by_turns, copy, grokpack, remove, size

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench

_GGUF = ("--to", "gguf", "--tokenizer", "none")
_BLOCKS = ("quantize", *_GGUF, "--type")


@dataclass(frozen=True)
class Route:
    """A command without its source and output, and what it must reach.

    Attributes:
        words: The command and its options.
        at_most: Times `cp -r`.
        of: What `cp -r` copies: the `input`, the `output`, or the `larger` of the two.
        at_least: GB of input per second.
        quick: True where `make bench-quick` has it too.
    """

    words: tuple[str, ...]
    at_most: float | None = None
    of: str = "input"
    at_least: float | None = None
    quick: bool = False

    @property
    def name(self) -> str:
        """The command as a line of the table."""
        return " ".join(self.words).replace(" --tokenizer none", "")


RESHARD = (Route(("reshard", "--tp", "8"), at_most=1.1, quick=True),)
CONVERT = (
    Route(("convert", "--to", "hf"), at_most=1.15, of="output", quick=True),
    Route(("convert", *_GGUF, "--type", "q8_0"), at_least=1.2, quick=True),
    Route(("convert", "--to", "zarr"), at_most=1.3),
    Route(("convert", "--to", "orbax"), at_most=1.3),
)
QUANTIZE = (
    Route(("quantize", "--bits", "4"), at_most=2.5, quick=True),
    Route(("quantize", "--bits", "4", "--method", "rtn"), at_most=1.5),
    Route(("quantize", "--bits", "4", "--method", "lsq")),
    Route(("quantize", "--bits", "8"), at_most=1.5),
    Route(("quantize", "--to", "fp8"), at_most=1.5, of="larger"),
    Route(("quantize", "--to", "mxfp4")),
    Route(("quantize", "--to", "nvfp4")),
    Route((*_BLOCKS, "q4_0", "--method", "rtn")),
    Route((*_BLOCKS, "q4_0"), at_least=1.0),
    Route((*_BLOCKS, "q8_0", "--bits", "8"), at_least=1.2),
    Route((*_BLOCKS, "q4_k"), at_least=0.6, quick=True),
)
GROK2 = (
    Route(("convert", "--to", "hf"), at_most=1.3, quick=True),
    Route(("reshard", "--tp", "4"), at_most=1.3),
)
_PARAMETERS_ALIKE = (
    Route((*_BLOCKS, "q8_0", "--bits", "8")),
    Route((*_BLOCKS, "q4_k")),
)


def bench_reshard(bench: Bench) -> None:
    """Cutting a checkpoint for 8 ranks."""
    _measure_all(bench, bench.medium(), bench.tiny(), RESHARD)


def bench_convert(bench: Bench) -> None:
    """Converting to what people load."""
    _measure_all(bench, bench.medium(), bench.tiny(), CONVERT)


def bench_quantize(bench: Bench) -> None:
    """Quantizing."""
    _measure_all(bench, bench.medium(), bench.tiny(), QUANTIZE)


def bench_grok2(bench: Bench) -> None:
    """Grok-2's release merged and cut for another width, and parameters against Grok-1's."""
    sources = bench.medium("grok-2"), bench.tiny("grok-2")
    _measure_all(bench, *sources, GROK2)
    if not bench.quick:
        for route in _PARAMETERS_ALIKE:
            _compare_models(bench, route)


def _measure_all(bench: Bench, source: Path, tiny: Path, routes: tuple[Route, ...]) -> None:
    for route in routes:
        if route.quick or not bench.quick:
            measure(bench, source, tiny, route)


def measure(bench: Bench, source: Path, tiny: Path, route: Route) -> None:
    """Measure one route: times `cp -r`, GB of input per second, and memory."""
    out, copied = bench.work / "out", bench.work / "copy"
    start = min(_once(tiny, out, route).seconds for _ in range(2))
    _make(source, out, route)  # kernels compiled, memory touched
    copied_like = source
    if route.of == "output" or (route.of == "larger" and size(out) > size(source)):
        copied_like = out.rename(bench.work / "output")
    remove(out)
    pairs = by_turns(
        bench.turns, lambda: copy(copied_like, copied), lambda: _once(source, out, route)
    )
    net = [run.seconds - start for run in pairs[1]]
    what = "input" if copied_like is source else "output"
    ratios = [one / plain.seconds for one, plain in zip(net, pairs[0], strict=True)]
    bench.figure(f"{route.name}, times cp -r of the {what}", ratios, "x", at_most=route.at_most)
    rates = [size(source) / GB / seconds for seconds in net]
    bench.figure("  input", rates, "GB/s", at_least=route.at_least)
    bench.peak("  peak resident memory", pairs[1])
    remove(bench.work / "output")


def _compare_models(bench: Bench, route: Route) -> None:
    """Parameters per second of both models; what differs is the form of their weights."""
    out = bench.work / "out"
    sources = [bench.medium(model) for model in MODELS]
    for source in sources:
        _once(source, out, route)  # kernels compiled
    pairs = by_turns(
        bench.turns, *(lambda s=source: _once(s, out, route).seconds for source in sources)
    )
    counts = [bench.parameters(source) for source in sources]
    rates = [[count / s for s in seconds] for count, seconds in zip(counts, pairs, strict=True)]
    ratios = [two / one for one, two in zip(*rates, strict=True)]
    bench.figure(f"parameters per s, Grok-2 over Grok-1: {route.name}", ratios, "x", at_least=1)


def _once(source: Path, out: Path, route: Route) -> Run:
    """Run a route and remove what it made."""
    run = _make(source, out, route)
    remove(out)
    return run


def _make(source: Path, out: Path, route: Route) -> Run:
    command, *options = route.words
    return grokpack(command, source, *options, "-o", out)
