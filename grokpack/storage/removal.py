"""Removal of files below a folder, without following links on the way."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from grokpack.storage import change_detection
from grokpack.storage.fault_injection import writing
from grokpack.storage.new_files import not_own, open_own

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from grokpack.storage.change_detection import WrittenParts

_SAMPLE_BYTES = 64 << 10  # smallest tile that serves as a sample, if there are several
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def folder_below(root: str, path: str) -> Iterator[int]:
    """Open the folder of a file below `root`, refusing links on the way.

    Raises:
        OSError: A folder on the way does not exist, or is a link.
    """
    relative = os.path.relpath(os.path.dirname(os.path.abspath(path)), os.path.abspath(root))
    handle = os.open(root, _FOLDER)
    try:
        for name in () if relative == "." else relative.split(os.sep):
            below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def remove_below(root: str, path: str) -> None:
    """Remove a file below a folder, if it exists.

    Raises:
        GrokpackError: GP330 if a folder on the way is a link.
    """
    with writing("remove", path), contextlib.suppress(FileNotFoundError):
        try:
            with folder_below(root, path) as folder:
                os.unlink(os.path.basename(path), dir_fd=folder)
        except NotADirectoryError as error:
            raise not_own(path) from error


def is_free_or_own(root: str, path: str, written: WrittenParts | None, inode: int | None) -> bool:
    """Return whether a path below a folder is free, or provably holds the run's own file.

    Three things prove it: the inode number of the created file, the size together with the checksum
    of one tile, or a file that is nothing but a hole.

    Args:
        root: The folder.
        path: The file.
        written: Size and checksums that it should have; None if not known.
        inode: Inode number that it should have; None if not known.

    Raises:
        GrokpackError: GP214 if the file cannot be read.
    """
    try:
        with folder_below(root, path):
            pass
    except FileNotFoundError:
        return True
    except OSError:
        return False
    state = change_detection.regular(path)
    if state is None:
        return not os.path.lexists(path)
    if state.st_ino == inode or _is_hole(path):
        return True
    if written is None or not written.sums or state.st_size != written.nbytes:
        return False
    return any(
        not change_detection.differing_tiles(path, written, {tile}) for tile in _samples(written)
    )


def _samples(written: WrittenParts) -> list[int]:
    """Order tiles so that the cheapest meaningful sample is first, with others if it is damaged."""
    tiles = sorted(written.sums, reverse=True)
    if len(tiles) > 1 and change_detection.tile_bytes(tiles[0], written.nbytes) < _SAMPLE_BYTES:
        tiles = [*tiles[1:], tiles[0]]
    return tiles


def _is_hole(path: str) -> bool:
    """Return whether a file holds no byte that was ever written."""
    handle = open_own(path, os.O_RDONLY)
    try:
        os.lseek(handle, 0, os.SEEK_DATA)
    except OSError:  # no data up to the end
        return True
    else:
        return False
    finally:
        os.close(handle)


def foreign_files(root: str, own: Collection[str], but: str) -> list[str]:
    """Return what lies below a folder beside these files and their folders.

    Args:
        root: The folder.
        own: Paths of files in it.
        but: Name of a folder in it to leave out.
    """
    folders = {os.path.abspath(root)}
    for path in own:
        folder = os.path.dirname(os.path.abspath(path))
        while folder not in folders and folder != os.path.dirname(folder):
            folders.add(folder)
            folder = os.path.dirname(folder)
    files = {os.path.abspath(path) for path in own}
    found = []
    for here, below, names in os.walk(os.path.abspath(root)):
        if here == os.path.abspath(root) and but in below:
            below.remove(but)
        odd = [os.path.join(here, name) for name in below]
        found += [path for path in odd if path not in folders or os.path.islink(path)]
        found += [path for name in names if (path := os.path.join(here, name)) not in files]
    return found
