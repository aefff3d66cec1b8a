"""Write the pages that are made from the program's own tables.

`python docs/_generate.py` writes them; `--check` only compares and exits 1 where one is out of
date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from grokpack.core.error_codes import CODES

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))  # the makers of the other pages stand beside this file

from _api import api_page  # noqa: E402
from _cli import cli_page, environment_page, options_page  # noqa: E402
from _documents import json_page  # noqa: E402
from _map import map_page  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.core.error_codes import Code

GROUPS = {
    "GP1": ("Findings", "What `verify` reports about a checkpoint."),
    "GP2": ("Source", "Why something cannot be read."),
    "GP3": ("Plan and target", "Why something is not begun."),
    "GP4": ("Run", "Why something ended before it was done."),
    "GP9": ("Bugs", "What should never happen."),
}


def codes_page() -> str:
    """The table of codes as a page, one heading for each."""
    lines = [
        "<!-- Made by docs/_generate.py from grokpack/core/error_codes/__init__.py: edit that. -->",
        "",
        "# Codes",
        "",
        "Every finding and error has a code that never changes its meaning. The",
        "[exit status](exit-codes.md) is that of a command which ends because of it.",
        "",
    ]
    for prefix, (title, purpose) in GROUPS.items():
        lines += [f"## {title}", "", purpose, ""]
        for code in CODES.values():
            if code.id.startswith(prefix):
                lines += _entry(code)
    return "\n".join(lines).rstrip() + "\n"


def _entry(code: Code) -> Iterator[str]:
    yield from (f"### {code.id}", "")
    yield from (f"**{code.title}** (exit status {code.exit_status.value})", "")
    yield from (code.meaning, "")
    yield from (f"What to do: {code.remedy}", "")


PAGES: dict[str, Callable[[], str]] = {
    "reference/api.md": api_page,
    "reference/cli.md": cli_page,
    "reference/codes.md": codes_page,
    "reference/environment.md": environment_page,
    "reference/json.md": json_page,
    "reference/map.md": map_page,
    "reference/options.md": options_page,
}


def stale() -> list[str]:
    """Pages that are not what the program would write now."""
    return [name for name, page in PAGES.items() if _stored(name) != page()]


def _stored(name: str) -> str | None:
    path = DOCS / name
    return path.read_text(encoding="utf-8") if path.exists() else None


def main(arguments: list[str]) -> int:
    """Write or check all pages; the exit status."""
    names = stale()
    if "--check" in arguments:
        for name in names:
            print(f"docs/{name} is out of date: run `make docs`", file=sys.stderr)
        return 1 if names else 0
    for name in names:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
