"""Draw README's picture of a terminal: commands that are really run, as an SVG.

`python docs/_picture.py` writes docs/picture.svg. Times and rates in it are those of this machine.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).resolve().parent
COLUMNS = 92
COMMANDS = (
    "grokpack synth grok-1-small --preset small",
    "grokpack verify grok-1-small --data",
    "grokpack quantize grok-1-small --bits 4 -o grok-1-int4",
    "grokpack evaluate grok-1-small --against grok-1-int4 --tokens tokens.npy",
)
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # rich's, which come from a server


def picture() -> str:
    """Run the commands in an empty folder and draw what they print."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        for command in COMMANDS:
            console.print(Text("$ ", "bold green") + Text(command, "bold"))
            console.print(Text.from_ansi(_output(command, folder)), highlight=False)
            console.print()
    return _FONTS.sub("", console.export_svg(title="grokpack", theme=MONOKAI))


def _prepare(folder: Path) -> None:
    import numpy as np

    np.save(folder / "tokens.npy", np.arange(1, 65))


def _output(command: str, folder: str) -> str:
    """Return what a command prints on a terminal that has no progress bar."""
    program = Path(sys.executable).with_name("grokpack")
    words = [str(program), *command.split()[1:], "--progress", "none", "--color", "always"]
    settings = os.environ | {"COLUMNS": str(COLUMNS), "GROKPACK_KERNELS": "auto"}
    done = subprocess.run(  # noqa: S603  # the commands above
        words, cwd=folder, env=settings, check=True, capture_output=True, text=True
    )
    return done.stdout.rstrip("\n")


if __name__ == "__main__":
    (DOCS / "picture.svg").write_text(picture(), encoding="utf-8")
