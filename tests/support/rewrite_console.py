"""Write into the documentation what its commands print now, where that is something else.

`python -m tests.support.rewrite_console [PAGE]...` does it for the pages given, or for all. Read
the difference before committing it: it is what a user will see.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support import console, forked
from tests.support.documentation import PAGES, environment


def rewrite(page: Path, folder: Path) -> bool:
    """Run a page's commands and put what they print below them; whether anything changed."""
    text = page.read_text(encoding="utf-8")
    for name in ("bin", "work"):
        (folder / name).mkdir()
    forked.shim(folder / "bin")
    steps = [block for block in console.read(text) if isinstance(block, console.Step)]
    pieces, end = [], 0
    for step, done in console.results(steps, folder / "work", environment(folder / "bin")):
        if step.expected is not None and not console.matches(step.expected, done.stdout):
            printed = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
            pieces += [text[end : step.at], printed]
            end = step.at + len(step.expected)
    page.write_text("".join([*pieces, text[end:]]), encoding="utf-8")
    return bool(pieces)


if __name__ == "__main__":
    for chosen in [Path(name).resolve() for name in sys.argv[1:]] or PAGES:
        with tempfile.TemporaryDirectory() as scratch:
            if rewrite(chosen, Path(scratch)):
                sys.stdout.write(f"rewrote {chosen}\n")
