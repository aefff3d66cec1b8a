"""Peak memory of commands on a layer of real width; what they write lies on the disk."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measuring import Run, grokpack, remove

if TYPE_CHECKING:
    from benchmarks.bench import Bench

ROOM_BYTES = 24 << 30  # a layer of Grok-2's release and an output, with room to spare
_GGUF = ("--to", "gguf", "--tokenizer", "none", "--type")
TOKENS = 64  # that an evaluation takes
CANDIDATES = 3  # copies that are held against the source at once
_READING = (("verify", "--values"), ("inspect", "--stats"))
WRITING = {
    "grok-1": (
        ("reshard", "--tp", "8"),
        ("reshard", "--tp", "4", "--to", "ckpt-0"),
        ("convert", *_GGUF, "q8_0"),
        ("convert", "--to", "hf"),
        ("convert", "--to", "zarr"),
        ("convert", "--to", "orbax"),
        ("quantize", "--bits", "4"),
        ("quantize", "--bits", "8"),
        ("quantize", "--to", "fp8"),
        ("quantize", "--to", "nvfp4"),
        ("quantize", *_GGUF, "q4_0"),
        ("quantize", *_GGUF, "q4_k"),
    ),
    "grok-2": (
        ("reshard", "--tp", "4"),
        ("convert", "--to", "hf"),
        ("convert", *_GGUF, "bf16"),
        ("quantize", "--bits", "4", "--tokenizer", "none"),
        ("quantize", *_GGUF, "q8_0", "--bits", "8"),
        ("quantize", *_GGUF, "q4_k"),
    ),
}


def bench_memory(bench: Bench) -> None:
    """Grok-1: one layer at real width."""
    _measure(bench, "grok-1", ())


def bench_grok2_memory(bench: Bench) -> None:
    """Grok-2: one layer at real width, with few tokens."""
    _measure(bench, "grok-2", ("--vocab", "1024"))


def _measure(bench: Bench, model: str, shape: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if shutil.disk_usage(folder).free < ROOM_BYTES:
            bench.table.leave_out(bench.part, f"less than {ROOM_BYTES >> 30} GiB on the disk")
            return
        real, out = Path(folder) / "real", Path(folder) / "out"
        preset = ("--model", model, "--preset", "real-layer", *shape)
        _tell(bench, model, "synth", grokpack("synth", real, *preset))
        for words in _READING:
            _tell(bench, model, " ".join(words), grokpack(words[0], real, *words[1:]))
        _evaluate(bench, model, real)
        for command, *options in WRITING[model]:
            run = grokpack(command, real, *options, "-o", out)
            _tell(bench, model, " ".join((command, *options)), run)
            remove(out)


def _evaluate(bench: Bench, model: str, real: Path) -> None:
    """Hold a copy against its source, and several at once."""
    tokens = real.with_name("tokens.npy")
    np.save(tokens, np.arange(TOKENS))
    for count in (1, CANDIDATES):
        run = grokpack("evaluate", real, "--tokens", tokens, *("--against", real) * count)
        _tell(bench, model, f"evaluate --against, {count}", run)


def _tell(bench: Bench, model: str, name: str, run: Run) -> None:
    bench.figure(f"{model}, a real layer: {name}", run.seconds, "s")
    bench.peak("  peak resident memory", [run])
