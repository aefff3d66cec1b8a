"""Archives: what they save, and what writing and reading them costs against plain files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measuring import GB, Run, by_turns, grokpack, remove, size

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench

_GGUF = ("--to", "gguf", "--type", "q8_0", "--tokenizer", "none")


def bench_archive(bench: Bench) -> None:
    """Writing an archive, unpacking it, and reading it in order and in columns."""
    source, archive, out = bench.medium(), bench.work / "archive", bench.work / "out"
    gigabytes = size(source) / GB
    runs = [_convert(source, archive, "--to", "archive") for _ in range(bench.turns)]
    saved = 100 * (1 - size(archive) / size(source))
    bench.figure("convert --to archive, smaller by", saved, "%", at_least=10)
    bench.figure("  input", [gigabytes / run.seconds for run in runs], "GB/s")
    runs = [_convert(archive, out, "--to", "files") for _ in range(bench.turns)]
    rates = [gigabytes / run.seconds for run in runs]
    bench.figure("convert --to files, output", rates, "GB/s", at_least=1.0)
    for name, of_plain, of_archive in (
        ("verify --values", lambda: _verify(source), lambda: _verify(archive)),
        (
            "convert --to gguf --type q8_0",
            lambda: _convert(source, out, *_GGUF),
            lambda: _convert(archive, out, *_GGUF),
        ),
    ):
        plain, packed = by_turns(bench.turns, of_plain, of_archive)
        ratios = [two.seconds / one.seconds for one, two in zip(plain, packed, strict=True)]
        bench.figure(f"{name} of an archive, times that of plain files", ratios, "x")
        bench.peak("  peak resident memory", packed)


def _verify(path: Path) -> Run:
    return grokpack("verify", path, "--values")


def _convert(source: Path, out: Path, *options: str) -> Run:
    remove(out)
    return grokpack("convert", source, *options, "-o", out)
