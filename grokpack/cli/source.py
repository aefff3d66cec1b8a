"""The checkpoint that a command works on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from grokpack.render.numbers import shown

if TYPE_CHECKING:
    from grokpack.cli.session import Session


def resolve(source: Path | None, session: Session) -> str:
    """The path that was given, or the one that is found; says which, where it was found."""
    from grokpack.stores.locate import default_source

    if source is not None:
        return str(source)
    found = default_source()
    session.say(f"using {shown(os.path.abspath(found))}")
    return found


def default_out(source: str, suffix: str) -> str:
    """A name beside the source that says what the output is: `grok-1-tp8`."""
    folder = Path(source).absolute()
    if folder.name == "ckpt-0":
        folder = folder.parent
    stem = folder.name if folder.name not in ("checkpoints", "") else "grok-1"
    return str(folder.parent / f"{stem.removesuffix('.gguf')}-{suffix}")
