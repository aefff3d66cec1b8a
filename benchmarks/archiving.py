"""Archives: what they save, and what writing and reading them costs against plain files."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from benchmarks.measuring import grokpack, median, remove, row

if TYPE_CHECKING:
    from pathlib import Path

_GB = 1e9
_CONVERT = ("--to", "gguf", "--type", "q8_0", "--tokenizer", "none")


def bench_archive(work: Path) -> None:
    """3 GB of ckpt-0, compressed, and read back in order and in columns."""
    source, archive, out = work / "m", work / "m-archive", work / "out"
    grokpack("synth", source, "--preset", "medium", "-q")
    gigabytes = _bytes(source) / _GB
    seconds = median(lambda: _once(source, archive, "--to", "archive")[0])
    row("convert --to archive, smaller by", f"{1 - _bytes(archive) / _bytes(source):.1%}", "10 %")
    row("  GB of input per s", f"{gigabytes / seconds:.2f} GB/s", "")
    seconds = median(lambda: _once(archive, out, "--to", "files")[0])
    row(
        "convert --to files, GB of output per s",
        f"{gigabytes / seconds:.2f} GB/s",
        "0.5 GB/s a core",
    )
    remove(out)
    plain, packed = (median(lambda p=p: _verify(p)) for p in (source, archive))  # type: ignore[misc]
    row("verify --values of an archive, GB per s", f"{gigabytes / packed:.2f} GB/s", "")
    row("  against plain files", f"{packed / plain:.2f} x", "")
    plain = median(lambda: _once(source, out, *_CONVERT)[0])
    packed, peak = _once(archive, out, *_CONVERT)
    row(
        "convert --to gguf --type q8_0 of an archive, GB per s",
        f"{gigabytes / packed:.2f} GB/s",
        "",
    )
    row("  against plain files", f"{packed / plain:.2f} x", "")
    row("  peak resident memory", f"{peak:.0f} MiB", "512 MiB")
    remove(out)
    shutil.rmtree(source)
    shutil.rmtree(archive)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "ckpt-0").iterdir())


def _verify(path: Path) -> float:
    return grokpack("verify", path, "--values", "-q")[0]


def _once(source: Path, out: Path, *options: str) -> tuple[float, float]:
    remove(out)
    return grokpack("convert", source, *options, "-o", out, "-q")
