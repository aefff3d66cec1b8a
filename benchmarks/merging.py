"""Grok-2: its release merged and cut for another width, quantized, and one layer at real width."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measuring import (
    GROKPACK,
    clear,
    copy_once,
    grokpack,
    median,
    medians,
    remove,
    row,
)

RELEASE = ("--model", "grok-2")
REAL_LAYER_BYTES = 24 << 30  # a layer of the release and an output, with room to spare
_COPIES = {
    "merged, convert --to hf": ("convert", "--to", "hf"),
    "reshard --tp 4": ("reshard", "--tp", "4"),
}
_BLOCKS = {
    "q8_0": ("--bits", "8", "--type", "q8_0"),
    "q4_k": ("--type", "q4_k"),
}
_GGUF = ("quantize", "--to", "gguf", "--tokenizer", "none")
_WIDE = {
    **_COPIES,
    "convert --to gguf --type bf16": ("convert", "--to", "gguf", "--tokenizer", "none"),
    **{f"quantize --type {name}": (*_GGUF, *options) for name, options in _BLOCKS.items()},
    "quantize --bits 4": ("quantize", "--tokenizer", "none"),
}


def bench_grok2(work: Path) -> None:
    """3 GB of a release, against `cp -r` of its files and against Grok-1."""
    _bench_headers(work)
    source, out = work / "grok-2", work / "out"
    grokpack("synth", source, *RELEASE, "--preset", "medium", "-q")

    def run(words: tuple[str, ...]) -> float:
        clear(out)
        return _seconds(source, out, words)

    for words in _COPIES.values():
        _once(source, out, words)  # memory touched
    copied, *times = medians(
        lambda: copy_once(source, out), *(partial(run, words) for words in _COPIES.values())
    )
    for name, seconds in zip(_COPIES, times, strict=True):
        row(f"Grok-2, {name}, against cp -r", f"{seconds / copied:.2f} x", "1.3 x")
    _bench_blocks(work)
    for path in (source, out):
        remove(path)


def _bench_headers(work: Path) -> None:
    """Headers of the whole release, as holes."""
    full = work / "full"
    grokpack("synth", full, *RELEASE, "--preset", "grok-2", "--sparse", "-q")
    start = median(lambda: grokpack("--help")[0])
    seconds = median(lambda: grokpack("inspect", full, "-q")[0])
    row("Grok-2, inspect of 39 sparse files, less --help", f"{seconds - start:.2f} s", "1 s")
    shutil.rmtree(full)


def _bench_blocks(work: Path) -> None:
    """GGUF blocks of both models; what differs beside their number is the weights' own form."""
    grokpack("synth", work / "grok-1", "--preset", "medium", "-q")
    sources = [work / "grok-1", work / "grok-2"]
    counts = [_parameters(source) for source in sources]
    out = work / "out.gguf"
    for name, options in _BLOCKS.items():
        words = (*_GGUF, *options)
        for source in sources:
            _once(source, out, words)  # kernels compiled
        times = medians(*(partial(_seconds, source, out, words) for source in sources))
        rates = [count / seconds / 1e6 for count, seconds in zip(counts, times, strict=True)]
        row(
            f"Grok-2 to GGUF {name}, parameters per s, times Grok-1's",
            f"{rates[1] / rates[0]:.2f} x",
            "1 x",
        )
        row("  millions per s, Grok-1 and Grok-2", f"{rates[0]:.0f}, {rates[1]:.0f}", "")
        remove(out)
    remove(sources[0])


def _parameters(source: Path) -> int:
    command = [*GROKPACK, "inspect", str(source), "--json", "-q"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    total: int = json.loads(done.stdout)["data"]["parameters"]["total"]
    return total


def bench_grok2_memory(_work: Path) -> None:
    """Peak memory on tensors of real width; source and outputs lie on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        if shutil.disk_usage(folder).free < REAL_LAYER_BYTES:
            row("Grok-2, real-layer preset: not measured", "too little room", "512 MiB")
            return
        real, out = Path(folder) / "real", Path(folder) / "out"
        shape = ("--preset", "real-layer", "--vocab", "1024")
        _tell("synth", *grokpack("synth", real, *RELEASE, *shape, "-q"))
        for command, option in (("verify", "--values"), ("inspect", "--stats")):
            _tell(f"{command} {option}", *grokpack(command, real, option, "-q"))
        for name, words in _WIDE.items():
            _tell(name, *_once(real, out, words))
            remove(out)


def _tell(name: str, seconds: float, peak: float) -> None:
    row(f"Grok-2, real-layer, {name}, to disk", f"{seconds:.1f} s", "")
    row("  peak resident memory", f"{peak:.0f} MiB", "512 MiB")


def _seconds(source: Path, out: Path, words: tuple[str, ...]) -> float:
    return _once(source, out, words)[0]


def _once(source: Path, out: Path, words: tuple[str, ...]) -> tuple[float, float]:
    remove(out)
    return grokpack(words[0], source, *words[1:], "-o", out, "-q")
