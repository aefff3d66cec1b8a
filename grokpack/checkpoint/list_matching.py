"""Matching of a published list's names to the files of a checkpoint."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from grokpack.formats import ckpt0, zstd_seekable
from grokpack.models import registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TENSOR_ENDS = (".safetensors", ".gguf")


def is_weights(name: str) -> bool:
    """Return whether a name in a list has the form of a weight file; others are optional."""
    plain = name.removesuffix(zstd_seekable.SUFFIX)
    last = plain.rpartition("/")[2]
    known = ckpt0.parse_name(last) is not None or last.endswith(_TENSOR_ENDS)
    return known or _chunks().fullmatch(plain) is not None


def _chunks() -> re.Pattern[str]:
    """Return the pattern of files in a zarr or Orbax store.

    They are arrays under a family's names, or a database's data files.
    """
    roots = "|".join(map(re.escape, registry.name_roots()))
    return re.compile(rf"(?:.*/)?(?:(?:{roots})[./].+|d/[0-9a-f]{{32}})")


def match(paths: Iterable[str], names: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Match each path to the entry that means it; paths without one are left out.

    A list may begin at the folder itself, above it, or be flat. An entry means a path if they are
    equal, else if it ends with the path, else if it is the path's last component. If several
    entries match, none is taken: a wrong guess would call a sound file damaged.

    Args:
        paths: Paths of the checkpoint's files, from its folder.
        names: The entries: their names, and a key for each.
        prefix: From the checkpoint's home to its folder: `ckpt-0/` or nothing.
    """
    exact = {_tidy(name): entry for name, entry in names.items()}
    by_last: dict[str, list[tuple[str, str]]] = {}
    for name, entry in exact.items():
        by_last.setdefault(name.rpartition("/")[2], []).append((name, entry))
    found = {}
    for path in paths:
        known = exact.get(prefix + path) or exact.get(path)
        if known is None:
            near = by_last.get(path.rpartition("/")[2], [])
            near = [row for row in near if row[0].endswith(f"/{path}")] or [
                row for row in near if f"/{path}".endswith(f"/{row[0]}")
            ]
            known = near[0][1] if len(near) == 1 else None
        if known is not None:
            found[path] = known
    return found


def _tidy(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/"))
