"""Errors for paths without a checkpoint: what is there instead, and what was probably meant."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import path_suggestions
from grokpack.checkpoint.readers import reader_registry, unfinished_downloads
from grokpack.core.counts import counted
from grokpack.core.errors import GrokpackError, NothingThere, Place
from grokpack.core.escaping import escape_line, safe_operand, shell_command
from grokpack.models import registry

if TYPE_CHECKING:
    from collections.abc import Callable

_TORCH = re.compile(r"((pytorch_model|consolidated|model).*|.*-\d{3})\.(bin|pt|pth)")
"""Names of weights as torch.save writes them; training_args.bin and the like are not among them."""
_PACKED = re.compile(r".*\.(zip|7z|rar|tgz|tbz2?|txz|tar(\.\w+)?)", re.IGNORECASE)
_TORRENT = ".torrent"
_MAGNET = "magnet:"
_FEW = 5  # names that a message lists


def fetching() -> str:
    """Return the commands that fetch a release, as the end of a hint."""
    return f"fetch a release:\n{registry.downloads()}"


def suggested(path: str, find: Callable[[str], str | None]) -> str | None:
    """Return the hint that names the paths that were probably meant; None without any.

    Args:
        path: A local path.
        find: Returns the folder of the files of the checkpoint at a path; None if there is none.
    """
    paths = path_suggestions.suggest(path, find)
    named = " or ".join(f"`{escape_line(one)}`" for one in paths)
    return f"did you mean {named}?" if named else None


def error(path: str, find: Callable[[str], str | None]) -> GrokpackError:
    """Return the error for a path or URL without a checkpoint.

    Args:
        path: What was named.
        find: Returns the folder of the files of the checkpoint at a path; None if there is none.
    """
    if storage.is_url(path):
        return _at_url(path, find)
    if path.startswith(_MAGNET):
        return NothingThere("a magnet link names a download, no folder", hint=_torrent_hint(None))
    hint = suggested(path, find)
    if not storage.exists(path):
        return NothingThere("no such folder", Place(path), hint=hint or fetching())
    if not storage.is_folder(path):
        return _at_file(path, hint)
    return _in_folder(path, hint)


def _at_file(path: str, hint: str | None) -> GrokpackError:
    """Return the error for a file, a device, a pipe or a broken link."""
    what = "no checkpoint of a known format here"
    try:
        is_file = storage.is_file(path)
    except GrokpackError as irregular:
        return irregular
    if path.endswith(_TORRENT):
        what, hint = "a torrent file lists a download, and holds no weights", _torrent_hint(path)
    elif _PACKED.fullmatch(path):
        what, hint = "an archive of files is not read", "unpack it, and name the folder"
    elif _TORCH.fullmatch(os.path.basename(path)):
        return _torch_pickles(path, [os.path.basename(path)])
    elif is_file:
        what = "this file is no checkpoint by itself"
    else:
        what = "it is a link to a file that is not there"
    return GrokpackError("GP203", what, Place(path), hint=hint or _expected())


def _torrent_hint(path: str | None) -> str:
    """Say how a torrent's files become a checkpoint that is known to be whole."""
    command = shell_command("grokpack", "verify", "FOLDER", "--against", safe_operand(path or ""))
    comparing = f"; then `{command}` compares it" if path and command else ""
    return f"give it to a torrent program, and name the folder of its download{comparing}"


def _in_folder(path: str, hint: str | None) -> GrokpackError:
    names = storage.names(path)
    if not names:
        return NothingThere("the folder is empty", Place(path), hint=hint or fetching())
    pickled = [name for name in names if _TORCH.fullmatch(name)]
    if pickled:
        return _torch_pickles(path, pickled)
    begun = [] if hint else unfinished_downloads.begun_in(path)
    if begun:
        facts = ((counted(len(begun), "file"), f"{begun[0]}{' ...' if len(begun) > 1 else ''}"),)
        hint = f"continue it with the program that began it, or {fetching()}"
        what = "a download that is not finished: none of its files is whole"
        return GrokpackError("GP202", what, Place(path), facts, hint)
    what = "no checkpoint of a known format here"
    return GrokpackError("GP203", what, Place(path), hint=hint or _expected())


def _expected() -> str:
    return f"expected {reader_registry.in_words()}"


def _at_url(url: str, find: Callable[[str], str | None]) -> GrokpackError:
    """Return the error for a URL without a checkpoint."""
    likely = path_suggestions.suggest_url(url, find)
    meant = f"did you mean `{escape_line(likely)}`?" if likely else None
    found = storage.names(url)
    if found:
        facts = (("found", ", ".join(found[:_FEW]) + (" ..." if len(found) > _FEW else "")),)
        what = "no checkpoint of a known format here"
        return GrokpackError("GP203", what, Place(url), facts, meant)
    tried = storage.explain_absence(url)
    sought = tuple(("looked for", name) for name in tried)
    hint = "name the folder of the files, or the whole URL of a GGUF file"
    if url.startswith(("s3://", "gs://")):
        hint = "see that bucket and folder exist; or give the whole URL of a GGUF file"
    if url.startswith("hf://"):
        hint = "see that repository, revision and folder exist; a private one needs HF_TOKEN"
    if meant:
        return NothingThere("no checkpoint at this URL", Place(url), sought, meant)
    if tried:
        hint += "\nthe server lists no names: of other files, grokpack.json or an index must tell"
    return NothingThere("no checkpoint at this URL", Place(url), sought, hint)


def _torch_pickles(path: str, found: list[str]) -> GrokpackError:
    """Return the error for PyTorch's own format: a file, or a folder that holds only such."""
    hint = (
        "take a copy in safetensors, or make one where you trust the files: "
        "`safetensors.torch.save_file(torch.load(FILE, weights_only=True), ...)` for each;\n"
        f"or {fetching()}"
    )
    facts = ((counted(len(found), "file"), f"{found[0]}{' ...' if len(found) > 1 else ''}"),)
    what = "PyTorch's pickles are not read: to load one runs what it names"
    return GrokpackError("GP220", what, Place(path), facts, hint)
