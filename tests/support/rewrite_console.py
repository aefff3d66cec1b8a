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
    shown: dict[str, str] = {}  # digests of the page, by those that are printed
    for step, done in console.results(steps, folder / "work", environment(folder / "bin")):
        if step.expected is None:
            continue
        told_apart = _tell_apart(console.plans(step.expected, done.stdout), shown)
        if told_apart and console.matches(step.expected, done.stdout):
            continue
        printed = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
        for own, digest in shown.items():
            printed = printed.replace(own, digest)
        pieces += [text[end : step.at], printed]
        end = step.at + len(step.expected)
    page.write_text("".join([*pieces, text[end:]]), encoding="utf-8")
    return bool(pieces)


def _tell_apart(digests: list[tuple[str, str]], shown: dict[str, str]) -> bool:
    """Note digests that a page shows; False where one stands for two plans, or two for one."""
    told_apart = True
    for digest, own in digests:
        if own not in shown:
            shown[own] = own if digest in shown.values() else digest
        told_apart &= shown[own] == digest
    return told_apart


if __name__ == "__main__":
    for chosen in [Path(name).resolve() for name in sys.argv[1:]] or PAGES:
        with tempfile.TemporaryDirectory() as scratch:
            if rewrite(chosen, Path(scratch)):
                sys.stdout.write(f"rewrote {chosen}\n")
