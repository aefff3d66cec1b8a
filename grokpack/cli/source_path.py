"""Path of the checkpoint that a command works on, and names made from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from grokpack.core.escaping import safe_operand, shell_command
from grokpack.report.text.shown_paths import relative_path, shown_path

if TYPE_CHECKING:
    from grokpack.cli.session import Session

_CACHED = "models--"  # how a repository's folder in the cache of `hf download` begins


def resolve(source: str | None, session: Session) -> str:
    """Return the path that was given, or find one and say which."""
    from grokpack import storage
    from grokpack.checkpoint.open_checkpoint import default_source

    if source is not None:
        return storage.absolute(source) if storage.is_url(source) else str(Path(source))
    found = default_source()
    session.say(f"using {shown_path(os.path.abspath(found))}")
    return found


def verifying(path: str, *options: str) -> str | None:
    """Return the command that verifies a path; None if it could not be pasted into a shell."""
    return shell_command("grokpack", "verify", safe_operand(relative_path(path)), *options)


def default_out(source: str, suffix: str) -> str:
    """Return a name beside the source that says what the output is: `grok-1-tp8`.

    What is read from a URL, or lies in the cache of the hub, is written to the current folder.
    """
    from grokpack import storage

    folder = _named_like(source) if storage.is_url(source) else Path(source).absolute()
    cached = next((part for part in folder.parts if part.startswith(_CACHED)), None)
    if cached is not None and not storage.is_url(source):
        folder = Path.cwd() / cached.rpartition("--")[2]
    if folder.name == "ckpt-0":
        folder = folder.parent
    stem = folder.name if folder.name not in ("checkpoints", "") else "grok-1"
    beside = Path.cwd() if storage.is_url(source) else folder.parent
    return str(beside / f"{stem.removesuffix('.gguf')}-{suffix}")


def _named_like(url: str) -> Path:
    """Return a path in the current folder that ends as a URL does, without a revision."""
    from grokpack.storage.urls import parse

    parts = str(parse(url)).partition("://")[2].split("/")
    return Path.cwd().joinpath(*(part.partition("@")[0] for part in parts[-2:]))
