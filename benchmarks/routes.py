"""Every route from a checkpoint to an output, against `cp -r` in the same turn.

What does not grow with the bytes is off: starting, headers, the plan, the tokenizer, kernels
loaded, files named and published. Two checkpoints have the same files, tensors and tokens, and one
of them thin matrices, 3 % of the bytes; what the other takes longer is compared with what `cp`
takes longer for it. `linearity` shows that a third in between lies on the line through both. What
was taken off stands in the table, with the number of files and tensors that it is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import MODELS
from benchmarks.measuring import COMPILED, GB, Run, by_turns, copy, grokpack, remove, size

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
    _measure_all(bench, "grok-1", RESHARD)


def bench_convert(bench: Bench) -> None:
    """Converting to what people load."""
    _measure_all(bench, "grok-1", CONVERT)


def bench_quantize(bench: Bench) -> None:
    """Quantizing."""
    _measure_all(bench, "grok-1", QUANTIZE)


def bench_grok2(bench: Bench) -> None:
    """Grok-2's release merged and cut for another width, and parameters against Grok-1's."""
    _measure_all(bench, "grok-2", GROK2)
    if not bench.quick:
        for route in _PARAMETERS_ALIKE:
            _compare_models(bench, route)


def bench_linearity(bench: Bench) -> None:
    """Processor time for half the bytes, times what a line through both ends says it takes."""
    out = bench.work / "out"
    for model, routes in (("grok-1", (*RESHARD, CONVERT[0])), ("grok-2", GROK2)):
        sources = [bench.thin(model), bench.half(model), bench.medium(model)]
        thin, half, whole = map(size, sources)
        share = (half - thin) / (whole - thin)
        for route in routes:
            works = [partial(_once, source, out, route) for source in sources]
            works[0]()  # kernels compiled
            turns = zip(*by_turns(bench.turns, *works), strict=True)
            spent = [[run.processor for run in runs] for runs in turns]
            ratios = [mid / (low + share * (high - low)) for low, mid, high in spent]
            bench.figure(f"{model}, {route.name}: half, times a line's", ratios, "x")


def _measure_all(bench: Bench, model: str, routes: tuple[Route, ...]) -> None:
    pair = bench.thin(model), bench.medium(model)
    form = bench.inspected(pair[1])
    counts = f"{form['files']['expected']} files with {len(form['tensors'])} tensors"
    for route in routes:
        if route.quick or not bench.quick:
            start = measure(bench, pair, route)
            bench.figure(f"  taken off for {counts}", start, "s")


def measure(bench: Bench, pair: tuple[Path, Path], route: Route) -> list[float]:
    """Measure one route from a thin and a whole checkpoint, and return the thin one's seconds.

    Compared is what the whole one takes longer: times `cp -r`, and GB of input per second.
    """
    out = bench.work / "out"
    copied, what = _copied(bench, pair, route)
    turns = by_turns(
        bench.turns,
        *(partial(copy, folder, bench.work / "copy") for folder in copied),
        *(partial(_once, source, out, route) for source in pair),
    )
    plain_thin, plain, thin, whole = ([run.seconds for run in runs] for runs in turns)
    net, plain_net = _differences(whole, thin), _differences(plain, plain_thin)
    ratios = [one / cp for one, cp in zip(net, plain_net, strict=True)]
    bench.figure(f"{route.name}, times cp -r of the {what}", ratios, "x", at_most=route.at_most)
    spent = [[run.processor for run in runs] for runs in turns]
    cost = zip(_differences(spent[3], spent[2]), _differences(spent[1], spent[0]), strict=True)
    bench.figure("  in processor time", [one / cp for one, cp in cost], "x")
    grown = (size(pair[1]) - size(pair[0])) / GB
    bench.figure("  input", [grown / seconds for seconds in net], "GB/s", at_least=route.at_least)
    bench.peak("  peak resident memory", turns[3])
    for folder in set(copied) - set(pair):
        remove(folder)
    return thin


def _copied(bench: Bench, pair: tuple[Path, Path], route: Route) -> tuple[tuple[Path, Path], str]:
    """Return what `cp -r` copies, and its name; kernels are compiled then."""
    made = bench.work / "thin-output", bench.work / "output"
    _make(pair[0], made[0], route)
    if route.of != "input":
        _make(pair[1], made[1], route)
        if route.of == "output" or size(made[1]) > size(pair[1]):
            return made, "output"
    for output in made:
        remove(output)
    return pair, "input"


def _differences(ones: list[float], others: list[float]) -> list[float]:
    return [one - other for one, other in zip(ones, others, strict=True)]


def _compare_models(bench: Bench, route: Route) -> None:
    """Parameters per second of both models; what differs is the form of their weights."""
    out = bench.work / "out"
    pairs = [(bench.thin(model), bench.medium(model)) for model in MODELS]
    works = [partial(_once, source, out, route) for pair in pairs for source in pair]
    by_turns(1, works[0], works[2])  # kernels compiled
    turns = [[run.seconds for run in runs] for runs in by_turns(bench.turns, *works)]
    seconds = _differences(turns[1], turns[0]), _differences(turns[3], turns[2])
    counts = [bench.parameters(whole) - bench.parameters(thin) for thin, whole in pairs]
    ratios = [(counts[1] / two) / (counts[0] / one) for one, two in zip(*seconds, strict=True)]
    bench.figure(f"parameters per s, Grok-2 over Grok-1: {route.name}", ratios, "x", at_least=1)


def _once(source: Path, out: Path, route: Route) -> Run:
    """Run a route and remove what it made."""
    run = _make(source, out, route)
    remove(out)
    return run


def _make(source: Path, out: Path, route: Route) -> Run:
    command, *options = route.words
    return grokpack(command, source, *options, "-o", out, environment=COMPILED)
