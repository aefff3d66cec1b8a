"""The network on a layer of Grok-1's width, against numpy's own product of matrices."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import grokpack

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench

TOKENS = 512
_RUNS = 3


def bench_evaluate(bench: Bench) -> None:
    """One layer, 512 tokens: arithmetic, how reading hides behind it, memory."""
    source = bench.work / "m"
    grokpack("synth", source, "--preset", "real-layer")
    measured = [sys.executable, "-m", "benchmarks.evaluating", str(source)]
    found: dict[str, Any] = json.loads(subprocess.check_output(measured, text=True))
    share = found["rate"] / found["numpy_rate"]
    bench.figure(
        f"a layer, {TOKENS} tokens, share of numpy's matmul rate", share, "x", at_least=0.9
    )
    bench.figure("  numpy, the shapes of the products", found["numpy_rate"] / 1e9, "GFLOP/s")
    overlap = found["wall"] / max(found["reading"], found["computing"])
    bench.figure("  times the larger of reading and computing", overlap, "x", at_most=1.1)
    for work in ("reading", "computing"):
        bench.figure(f"  {work} alone", found[work], "s")
    ids = bench.work / "ids.npy"
    _write_tokens(ids)
    run = grokpack("evaluate", source, "--tokens", ids)
    bench.peak("  peak resident memory of `evaluate`", [run], 2048)


def _write_tokens(path: Path) -> None:
    import numpy as np

    np.save(path, np.random.default_rng(0).integers(1, 131072, TOKENS))


def measure(folder: str) -> dict[str, float]:
    """Seconds and rates of one layer; numpy has not been loaded yet.

    Reading alone takes every band and does nothing with it; computing alone is given the first
    band of each shape again and again.
    """
    from grokpack.core import blas_threads

    rate = _numpy_rate()
    blas_threads.ask_for_one_thread()
    from grokpack.evaluation.network import matrices

    honest = matrices.read
    wall = statistics.median(_layer(folder) for _ in range(_RUNS))
    kept: dict[Any, Any] = {}

    def again(whole: Any, rows: Any, columns: Any, reader: Any) -> Any:  # noqa: ANN401
        key = whole.rows, whole.columns, rows, columns
        if key not in kept:
            kept[key] = honest(whole, rows, columns, reader)
        return kept[key]

    matrices.read = again
    _layer(folder)
    computing = statistics.median(_layer(folder) for _ in range(_RUNS))
    matrices.read = honest
    reading = statistics.median(_reading(folder) for _ in range(_RUNS))
    return {
        "wall": wall,
        "computing": computing,
        "reading": reading,
        "rate": _flops() / wall,
        "numpy_rate": rate,
    }


def _shapes() -> list[tuple[int, int, int]]:
    """Tokens, inputs and outputs of a layer's products, with an expert's mean share of tokens."""
    own = TOKENS * 2 // 8
    attention = [(TOKENS, 6144, 6144)] * 2 + [(TOKENS, 6144, 1024)] * 2
    return attention + [(own, 6144, 32768), (own, 6144, 32768), (own, 32768, 6144)] * 8


def _flops() -> float:
    return sum(2.0 * t * i * o for t, i, o in _shapes())


def _numpy_rate() -> float:
    """Of the same products by numpy with threads of its own, in a process that may have them."""
    shapes = json.dumps(_shapes()[2:7])
    code = f"from benchmarks.evaluating import multiply; print(multiply({shapes}))"
    return float(subprocess.check_output([sys.executable, "-c", code], text=True))


def multiply(shapes: list[tuple[int, int, int]]) -> float:
    """Operations a second; matrices are in memory, and their pages were touched."""
    import numpy as np

    random = np.random.default_rng(0)
    flops = seconds = 0.0
    for tokens, inputs, outputs in shapes:
        x = random.random((tokens, inputs), np.float32)
        weights = random.random((inputs, outputs), np.float32)
        out = np.empty((tokens, outputs), np.float32)
        times = []
        for _ in range(_RUNS + 1):
            began = time.monotonic()
            np.matmul(x, weights, out=out)
            times.append(time.monotonic() - began)
        flops += 2.0 * tokens * inputs * outputs
        seconds += statistics.median(times[1:])
    return flops / seconds


def _layer(folder: str) -> float:
    """Seconds of the layer, from a network that has just been opened."""
    import numpy as np

    from grokpack.checkpoint.open_checkpoint import open_checkpoint
    from grokpack.evaluation.evaluation_options import EvaluateOptions, networks
    from grokpack.evaluation.network.batch import batch

    tokens = batch([np.random.default_rng(0).integers(1, 131072, TOKENS)])
    with networks([open_checkpoint(folder)], TOKENS, EvaluateOptions()) as (network,):
        h = network.embed(tokens)
        began = time.monotonic()
        network.step(0, h, tokens)
        return time.monotonic() - began


def _reading(folder: str) -> float:
    """Seconds of reading what the layer reads."""
    from grokpack.checkpoint.open_checkpoint import open_checkpoint
    from grokpack.evaluation.evaluation_options import EvaluateOptions, networks
    from grokpack.evaluation.network.matrices import matrix

    checkpoint = open_checkpoint(folder)
    wanted = []
    for name, tensor in checkpoint.tensors.items():
        if "decoder_layer_0/" in name and len(tensor.values.shape) > 1 and "router" not in name:
            stack = range(8) if len(tensor.values.shape) > 2 else (None,)
            wanted += [matrix(tensor, expert) for expert in stack]
    with networks([checkpoint], TOKENS, EvaluateOptions()) as (network,):
        began = time.monotonic()
        network.stream.announce(wanted)
        for one in wanted:
            for _ in network.stream.take(one):
                pass
        return time.monotonic() - began


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))  # what the parent reads
