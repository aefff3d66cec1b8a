"""Reader of Orbax checkpoints: grokpack's own, and those that Orbax wrote.

Parameters are named by the keys of the pytree, `transformer/decoder_layer_4/moe/linear` and `w`; a
quantized weight has two leaves. Arrays lie in folders of their own, or all in an OCDBT database.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint.readers import chunked_store_reader
from grokpack.checkpoint.readers.chunked_store_reader import StoreArray, StoreContents
from grokpack.checkpoint.readers.reader_row import Reader
from grokpack.checkpoint.readers.zarr_reader import read_document, spec_of
from grokpack.checkpoint.tensorstore.chunk_reader import read_keys
from grokpack.core.errors import (
    GrokpackError,
    InputTooLarge,
    MalformedInput,
    Place,
    UnsupportedLayout,
    revised,
)
from grokpack.core.finding import Finding
from grokpack.formats import orbax
from grokpack.formats.ocdbt_index import largest_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.checkpoint.checkpoint import Survey
    from grokpack.formats.ocdbt_nodes import Node
    from grokpack.formats.orbax import Tree

NAME = "orbax"
_ITEMS = ("default", "state", "params", "model_params")
"""Folders in which a checkpoint manager puts a step's pytree."""
_DATABASE_LIMIT_BYTES = 1 << 20  # of a database's manifest, which is kept as it is


def is_store(folder: str) -> bool:
    """Return whether a folder is a checkpoint of Orbax, or a step of a checkpoint manager."""
    return _item(folder) is not None


def _item(folder: str) -> str | None:
    places = [folder, *(os.path.join(folder, name) for name in _ITEMS)]
    trees = [os.path.join(place, orbax.TREE) for place in places]
    found = storage.map_all(folder, storage.is_file, trees)
    return next(itertools.compress(places, found), None)


def survey(folder: str, head_dim: int | None = None) -> Survey:
    """Read the tree and the metadata of every array.

    Args:
        folder: The checkpoint's folder, or the one above it.
        head_dim: Head size, if no config.json gives it.

    Raises:
        GrokpackError: GP209 if the tree's metadata is broken, GP225 if the database cannot be read.
    """
    folder = _item(folder) or folder
    document = read_document(folder, orbax.TREE)
    try:
        tree = orbax.parse(document)
    except GrokpackError as error:
        raise revised(error, where=Place(os.path.join(folder, orbax.TREE))) from error
    files = set(storage.tree(folder))
    literals = {orbax.TREE: document}
    read = _from_database if tree.database else _from_folders
    largest = _largest_value(folder, files) if tree.database else 0
    members, common = read(folder, tree, files, literals)
    contents = StoreContents(
        members, literals, files, common, count_source=orbax.TREE, largest_value=largest
    )
    found = {member.path for member in members}
    contents.findings += [
        Finding("GP101", "array of the tree is missing", None, "/".join(keys))
        for keys in tree.leaves
        if "/".join(keys) not in found
    ]
    return chunked_store_reader.survey(folder, NAME, contents, head_dim)


def _from_folders(
    folder: str, tree: Tree, files: set[str], literals: dict[str, bytes]
) -> tuple[list[StoreArray], list[str]]:
    members = []
    for keys in tree.leaves:
        place = ".".join(keys)
        path = f"{place}/{tree.metadata}"
        if path in files:
            literals[path] = read_document(folder, path)
            spec = spec_of(path, {"driver": "file", "path": f"{place}/"})
            members.append(StoreArray("/".join(keys), place, literals[path], spec))
    return members, []


def _largest_value(folder: str, files: set[str]) -> int:
    """Return the size of the largest value of the database, from its index.

    TensorStore obeys an index, so none that could not be judged reaches it.

    Raises:
        GrokpackError: GP209 if the index is broken or names files outside of the folder, GP235 if
            it is larger than may be read, GP237 if a pipe or a device is at a name in it.
    """
    if orbax.DATABASE not in files:
        return 0

    def read_one(node: Node) -> bytes:
        if node.path not in files:
            what = f"the database's index names a file that is not there, {node.path}"
            raise MalformedInput(what)
        return storage.FileBytes(os.path.join(folder, node.path)).read(node.offset, node.nbytes)

    def read(nodes: Sequence[Node]) -> list[bytes]:
        return storage.map_all(folder, read_one, nodes)

    def judge(path: str) -> None:
        if not storage.is_url(folder):
            storage.size_of(os.path.join(folder, path))  # refuses pipes and devices

    path = os.path.join(folder, orbax.DATABASE)
    try:
        return largest_value(storage.read_whole(path, _DATABASE_LIMIT_BYTES), read, judge)
    except (InputTooLarge, MalformedInput, UnsupportedLayout) as error:
        raise revised(error, where=Place(path)) from error


def _from_database(
    folder: str, tree: Tree, files: set[str], literals: dict[str, bytes]
) -> tuple[list[StoreArray], list[str]]:
    """Return the arrays of an OCDBT database, and the files that are common to them."""
    base: dict[str, Any] = {"driver": "ocdbt"}
    places = {".".join(keys): keys for keys in tree.leaves}
    documents = read_keys(folder, base, [f"{place}/{tree.metadata}" for place in places])
    members = [
        StoreArray(
            "/".join(keys),
            "",
            documents[path],
            spec_of(path, {**base, "path": f"{place}/"}),
        )
        for place, keys in places.items()
        if (path := f"{place}/{tree.metadata}") in documents
    ]
    common = [path for path in sorted(files) if path.startswith(("d/", "ocdbt.process_"))]
    manifest = orbax.DATABASE
    if manifest in files:
        data = storage.FileBytes(os.path.join(folder, manifest))
        if data.size() <= _DATABASE_LIMIT_BYTES:
            literals[manifest] = data.read(0, data.size())
    return members, common


READER = Reader(NAME, "Orbax", is_store, survey)
