"""Index of a virtual store: an OCDBT database that presents a checkpoint's files as zarr 3."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from grokpack import storage
from grokpack.checkpoint.virtual_store import array_attributes
from grokpack.checkpoint.virtual_store.chunk_grid import ChunkGrid, grid_in_place
from grokpack.core.errors import GrokpackError, Place
from grokpack.formats import ocdbt, zarr_metadata_rendering, zarr_shards

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.layout import Piece
    from grokpack.core.tensors import ArraySpec
    from grokpack.formats.ocdbt import Database, Item

NODES = "index.ocdbt"
"""File of a view's nodes."""
MOST_KEYS = 4_000_000
"""Most chunks of a view, ten times the release's. A hostile header could ask for more."""
_FEW = 5  # reasons that a message lists


def database(
    checkpoint: Checkpoint, data: str, nodes_path: str, names: Iterable[str] | None = None
) -> Database:
    """Build the index of the arrays in a checkpoint's files.

    Args:
        checkpoint: The checkpoint to open in place.
        data: Path from the database's base to the checkpoint's folder, empty or ending in `/`.
        nodes_path: Path from the base to the file that will hold the index.
        names: Arrays; by default all in the files.

    Raises:
        GrokpackError: GP306 if an array is no regular grid of contiguous chunks in the files.
    """
    chosen = checkpoint.layout.arrays if names is None else tuple(names)
    said = array_attributes.of_arrays(checkpoint)
    grids = _grids(checkpoint, chosen)
    if sum(len(grid.offsets) for grid in grids.values()) > MOST_KEYS:
        raise _refusal(checkpoint, (("chunks", f"more than {MOST_KEYS:,}"),))
    try:
        items: list[Item] = [
            ocdbt.Inline(key.encode(), zarr_metadata_rendering.inline_group())
            for key in _groups(chosen)
        ]
        for name, grid in grids.items():
            items += _items(name, checkpoint.layout.arrays[name], grid, data, said.get(name, {}))
        return ocdbt.database(items, nodes_path)
    except ValueError as error:  # a duplicate key, or a name that is not text
        raise _refusal(checkpoint, (("names", str(error)),)) from error


def of_view(checkpoint: Checkpoint, base: str, folder: str) -> Database:
    """Build the index of a view.

    Args:
        checkpoint: The checkpoint to open in place.
        base: Folder at which the index's paths begin.
        folder: The view's folder, below it.

    Raises:
        GrokpackError: GP306 if an array is no regular grid of contiguous chunks in the files.
    """
    nodes_path = os.path.join(os.path.relpath(folder, base), NODES)
    data = os.path.join(os.path.relpath(normal_path(checkpoint.folder), base), "")
    return database(checkpoint, data.removeprefix("./"), nodes_path)


def _grids(checkpoint: Checkpoint, names: Iterable[str]) -> dict[str, ChunkGrid]:
    pieces: dict[str, tuple[Piece, ...]] = checkpoint.layout.pieces()
    found = {name: grid_in_place(checkpoint.layout.arrays[name], pieces[name]) for name in names}
    reasons = [(name, why) for name, why in found.items() if isinstance(why, str)]
    if reasons:
        raise _refusal(checkpoint, tuple(reasons[:_FEW]))
    return {name: grid for name, grid in found.items() if isinstance(grid, ChunkGrid)}


def _refusal(checkpoint: Checkpoint, facts: tuple[tuple[str, str], ...]) -> GrokpackError:
    what = "the arrays cannot be chunks in place: a view copies and turns nothing"
    hint = "`convert --to zarr` or `--to safetensors` writes them anew"
    return GrokpackError("GP306", what, Place(checkpoint.place), facts, hint)


def _items(
    name: str, array: ArraySpec, grid: ChunkGrid, data: str, said: dict[str, Any]
) -> Iterator[Item]:
    """Yield the keys of an array: its zarr.json, and its chunks."""
    metadata = zarr_metadata_rendering.inline_array(array, grid.chunk, said)
    yield ocdbt.Inline(f"{name}/{zarr_shards.METADATA}".encode(), metadata)
    if not len(grid.offsets):
        return
    tails = ocdbt.tails(grid.counts)
    prefix = f"{name}/c/" if grid.counts else f"{name}/c"
    files = tuple(data + path for path in grid.files)
    yield ocdbt.ChunkSeries(
        prefix.encode(),
        tails,
        files,
        grid.file_of[tails.order],
        grid.offsets[tails.order],
        grid.nbytes,
    )


def _groups(names: Iterable[str]) -> list[str]:
    """Return zarr.json of every group above an array, unless an array is there."""
    held = {*names}
    above = {""}
    for name in held:
        parts = name.split("/")[:-1]
        above.update("/".join(parts[: i + 1]) for i in range(len(parts)))
    return [f"{g}/{zarr_shards.METADATA}" if g else zarr_shards.METADATA for g in above - held]


def example(checkpoint: Checkpoint) -> str:
    """Return an array of the files as an example of a spec: the first expert's."""
    experts = (e.name for e in checkpoint.model.tensors() if e.rule.stacked)
    held = [name for name in experts if name in checkpoint.tensors] or list(checkpoint.tensors)
    return checkpoint.stored(held[0])[0]


def spec(base: str, manifest: str, array: str) -> dict[str, Any]:
    """Return the spec that opens an array of a view in this process.

    Args:
        base: Folder at which the index's paths begin.
        manifest: The view's folder.
        array: Name of the array.
    """
    return {"driver": "zarr3", "kvstore": kvstore(base, manifest) | {"path": f"{array}/"}}


def shown_spec(base: str, manifest: str, array: str) -> dict[str, Any]:
    """Return the spec that opens an array of a view in any TensorStore program.

    It is empty if a folder's name is not UTF-8, which no URL of TensorStore can hold.
    """
    try:
        f"{base}{manifest}".encode()
    except UnicodeEncodeError:
        return {}
    return spec(base, manifest, array)


def kvstore(base: str, manifest: str) -> dict[str, Any]:
    """Return the spec of the key-value store of a whole view."""
    return {"driver": "ocdbt", "base": folder_url(base), "manifest": folder_url(manifest)}


def folder_url(folder: str) -> str:
    """Return a folder's URL, with spaces, percent signs and non-ASCII letters escaped.

    If its name is not UTF-8, the URL has a path that is valid only in this process.
    """
    return f"file://{quote(storage.utf8(normal_path(folder)).rstrip('/'))}/"


def normal_path(path: str) -> str:
    """Return an absolute path without `..`; links stay, unless `..` follows one."""
    above = os.pardir in path.split(os.path.sep)
    return os.path.realpath(path) if above else os.path.abspath(path)
