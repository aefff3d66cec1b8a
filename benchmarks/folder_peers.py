"""Quantizing a folder in bfloat16 to int4 beside LLM Compressor and AutoRound, without a model.

`PEERS_PYTHON` names a Python that has `llmcompressor` or `auto-round`. All read the same folder,
round to nearest in groups of 128, and use every core. Compared is what two layers more take:
importing and starting are off.
"""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring import COMPILED, Run, by_turns, grokpack, remove, size, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench

VARIABLE = "PEERS_PYTHON"
_LAYERS = 1, 3
_MODEL = (
    *("--d-model", "1024", "--ffn", "2048", "--experts", "8", "--vocab", "1024"),
    *("--heads", "8", "--kv-heads", "2", "--head-dim", "128"),
)
_COMPRESSOR = """
import sys
from llmcompressor import model_free_ptq
ignored = ["re:.*embed.*", "re:.*lm_head", "re:.*gate$"]
model_free_ptq(*sys.argv[1:], scheme="W4A16", ignore=ignored, max_workers=2, device="cpu")
"""
_AUTOROUND = (
    *("--scheme", "W4A16", "--iters", "0", "--disable_opt_rtn", "--model_free"),
    *("--device", "cpu", "--format", "auto_round"),
)


def bench_folder_peers(bench: Bench) -> None:
    """Compare with those that the interpreter has."""
    python = os.environ.get(VARIABLE)
    if python is None:
        bench.table.leave_out(bench.part, f"{VARIABLE} names no interpreter")
        return
    folders = [_folder(bench, layers) for layers in _LAYERS]
    megabytes = (size(folders[1]) - size(folders[0])) / 1e6
    out = bench.work / "out"
    for name, module, theirs in (
        ("LLM Compressor", "llmcompressor", partial(_compress, python, out)),
        ("AutoRound", "auto_round", partial(_round, python, out)),
    ):
        found = [python, "-c", f"import importlib.util as u; exit(not u.find_spec('{module}'))"]
        if subprocess.run(found, check=False).returncode:
            bench.table.leave_out(f"{bench.part}: {name}", f"{python} has no {module}")
        else:
            _compare(bench, name, [partial(_quantize, out), theirs], folders, megabytes)


def _compare(
    bench: Bench,
    name: str,
    programs: list[Callable[[Path], Run]],
    folders: list[Path],
    megabytes: float,
) -> None:
    works = [partial(program, folder) for program in programs for folder in folders]
    programs[0](folders[0])  # kernels compiled
    few, many, their_few, their_many = by_turns(bench.turns, *works)
    for what, spent in (("by the clock", "seconds"), ("in processor time", "processor")):
        own, other = (
            [getattr(two, spent) - getattr(one, spent) for one, two in zip(*runs, strict=True)]
            for runs in ((few, many), (their_few, their_many))
        )
        ratios = [theirs / ours for ours, theirs in zip(own, other, strict=True)]
        bench.figure(f"quantize --bits 4 --method rtn, times {name}, {what}", ratios, "x")
    rates = [megabytes / (two.seconds - one.seconds) for one, two in zip(few, many, strict=True)]
    bench.figure("  input", rates, "MB/s")


def _folder(bench: Bench, layers: int) -> Path:
    source, folder = bench.work / "source", bench.work / f"folder-{layers}"
    grokpack("synth", source, *_MODEL, "--layers", str(layers))
    grokpack("convert", source, "--to", "hf", "--tokenizer", "none", "-o", folder)
    remove(source)
    return folder


def _quantize(out: Path, folder: Path) -> Run:
    options = ("--bits", "4", "--method", "rtn", "--tokenizer", "none", "-o", out)
    run = grokpack("quantize", folder, *options, environment=COMPILED)
    remove(out)
    return run


def _compress(python: str, out: Path, folder: Path) -> Run:
    run = watch([python, "-c", _COMPRESSOR, str(folder), str(out)])
    remove(out)
    return run


def _round(python: str, out: Path, folder: Path) -> Run:
    program = str(Path(python).with_name("auto-round"))
    run = watch([program, "--model", str(folder), *_AUTOROUND, "--output_dir", str(out)])
    remove(out)
    return run
