"""The readers of headers and tables, as functions of bytes: what may come of any bytes whatever.

`python -m tests.faults.readers SECONDS READER` lets atheris, which sees what code a case reaches,
make cases from the corpus beside this file; what it finds new stays in `build/`. `make
fuzz-coverage` runs it for all. A plain run of the tests reads the corpus.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grokpack.core.errors import GrokpackError

CORPUS = Path(__file__).parent / "corpus"
REFUSALS = ("GP2",)
"""Errors of a source: what any other end is, is a bug."""


class Held:
    """Bytes in memory, as a file is read; what is asked for is counted."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = 0

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, nbytes: int) -> bytes:
        found = self.data[offset : offset + nbytes]
        self.asked += len(found)
        return found


def _read(module: Any, held: Held) -> None:
    module.read(held, "file")


def _parse(module: Any, held: Held) -> None:
    module.parse(held.data)


def _table(module: Any, held: Held) -> None:
    tail = held.data[-module.FOOTER_BYTES :]
    footer = module.read_footer(tail, held.size())
    if footer is not None:
        module.read_table(held.data[-footer.table_bytes :], footer, held.size())


READERS: dict[str, tuple[str, Callable[[Any, Held], None]]] = {
    "pickle": ("grokpack.formats.pickle", _read),
    "safetensors": ("grokpack.formats.safetensors", _read),
    "gguf": ("grokpack.formats.gguf_header", _read),
    "zarr": ("grokpack.formats.zarr_metadata_parsing", _parse),
    "frames": ("grokpack.formats.zstd_seekable", _table),
}
"""Modules, imported late, since atheris sees into what is imported after it; and what they do."""


def one(reader: str, data: bytes) -> str | None:
    """What a reader makes of the bytes: the code of its refusal, or None where it takes them."""
    held = Held(data)
    try:
        module, read = READERS[reader]
        read(importlib.import_module(module), held)
    except GrokpackError as error:
        if not error.code.startswith(REFUSALS):
            raise
        return error.code
    return None


def main() -> None:
    """Run atheris for some seconds; it ends with another status where a case ends badly."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    seconds, reader = sys.argv[1:3]
    found = Path("build", "fuzz", reader)
    found.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=["grokpack"]):
        importlib.import_module(READERS[reader][0])
    options = [
        f"-max_total_time={seconds}", "-rss_limit_mb=512", "-timeout=10", "-max_len=8192",
        f"-artifact_prefix={found.parent}/{reader}-", "-print_final_stats=1",
    ]  # fmt: skip
    places = [str(found), str(CORPUS / reader)]
    atheris.Setup([sys.argv[0], *options, *places], lambda data: one(reader, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
