"""Reader of zarr folders: grokpack's own, and those of others under a family's own names.

    transformer/decoder_layer_4/moe/linear/w/zarr.json            int8[expert, in, out]
    transformer/decoder_layer_4/moe/linear/w_scales/zarr.json     bf16[expert, group, out]

It reads versions 3 and 2, sharded or not, compressed or not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint.readers import chunked_store_reader
from grokpack.checkpoint.readers.chunked_store_reader import StoreArray, StoreContents
from grokpack.checkpoint.readers.reader_row import Reader
from grokpack.core.errors import GrokpackError, InputTooLarge, MalformedInput, Place
from grokpack.formats import bounded_json, zarr_shards
from grokpack.models import registry

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Survey

NAME = "zarr"
SCHEMA = "grokpack/zarr/1"
_GROUPS = (zarr_shards.METADATA, ".zgroup", ".zmetadata")
_DOCUMENTS = (zarr_shards.METADATA, zarr_shards.METADATA_2)
_LIMIT_BYTES = 16 << 20  # of a metadata file; consolidated ones hold all others
# These two limit the metadata: the release with an optimizer's state has 5,000.
_MOST_DOCUMENTS = 1 << 14
_DOCUMENTS_BYTES = 64 << 20


def is_store(folder: str) -> bool:
    """Return whether a folder is a zarr group, or holds arrays under a family's names."""
    paths = [os.path.join(folder, name) for name in _GROUPS]
    paths += [
        os.path.join(folder, family.rule("embedding").path, name)
        for family in registry.FAMILIES.values()
        for name in _DOCUMENTS
    ]
    return any(storage.map_all(folder, storage.is_file, paths))


def survey(folder: str, head_dim: int | None = None) -> Survey:
    """Read the metadata of every array, and look for its files.

    Args:
        folder: The group's folder.
        head_dim: Head size, if no config.json gives it.

    Raises:
        GrokpackError: GP209 if the group's metadata is broken, GP210 if no array has a name of
            a family's.
    """
    files = set(storage.tree(folder))
    documents = _documents(folder, sorted(path for path in files if _is_metadata(path)))
    members = [
        StoreArray(
            os.path.dirname(path),
            os.path.dirname(path),
            data,
            spec_of(path, {"driver": "file", "path": os.path.dirname(path) + "/"}),
        )
        for path, data in documents.items()
        if not is_group(data)
    ]
    about = _about(documents, folder)
    contents = StoreContents(members, documents, files, bits=_bits(about, folder))
    contents.layers = _layers(about)
    contents.count_source = zarr_shards.METADATA if contents.layers else None
    found = chunked_store_reader.survey(folder, NAME, contents, head_dim)
    if found.checkpoint is None and not members:
        raise GrokpackError("GP210", "no array of this zarr group is a tensor's", Place(folder))
    return found


def _documents(folder: str, paths: list[str]) -> dict[str, bytes]:
    """Read metadata files, by path.

    Raises:
        GrokpackError: GP235 if there are more than any store needs.
    """
    found: dict[str, bytes] = {}
    nbytes = 0
    for path in paths if len(paths) <= _MOST_DOCUMENTS else ():
        found[path] = read_document(folder, path)
        nbytes += len(found[path])
        if nbytes > _DOCUMENTS_BYTES:
            break
    if len(paths) > _MOST_DOCUMENTS or nbytes > _DOCUMENTS_BYTES:
        what = f"more metadata than that of {_MOST_DOCUMENTS:,} arrays is not read"
        raise InputTooLarge(what, Place(folder))
    return found


def _is_metadata(path: str) -> bool:
    return os.path.basename(path) in _DOCUMENTS


def read_document(folder: str, path: str) -> bytes:
    """Read a metadata file.

    Raises:
        GrokpackError: GP235 if it is too large to be one.
    """
    return storage.read_whole(os.path.join(folder, path), _LIMIT_BYTES)


def is_group(document: bytes) -> bool:
    """Return whether metadata is a group's; broken metadata counts as an array's."""
    try:
        parsed = bounded_json.parse(document)
    except GrokpackError:
        return False
    return isinstance(parsed, dict) and parsed.get("node_type") == "group"


def spec_of(metadata: str, kvstore: dict[str, Any]) -> dict[str, Any]:
    """Return TensorStore's spec of the array that a metadata file describes."""
    driver = "zarr" if os.path.basename(metadata) == zarr_shards.METADATA_2 else "zarr3"
    return {"driver": driver, "kvstore": kvstore}


def _about(documents: dict[str, bytes], folder: str) -> dict[str, Any]:
    """Return the group's attributes about the model; empty if grokpack wrote none.

    Raises:
        GrokpackError: GP209 if the metadata is broken.
    """
    root = documents.get(zarr_shards.METADATA)
    where = Place(os.path.join(folder, zarr_shards.METADATA))
    try:
        attributes = {} if root is None else bounded_json.parse(root, where).get("attributes", {})
        own = attributes.get("grokpack", {})
    except (ValueError, AttributeError) as error:
        raise _broken(folder, error) from error
    return own if isinstance(own, dict) else {}


def _broken(folder: str, error: Exception) -> GrokpackError:
    where = Place(os.path.join(folder, zarr_shards.METADATA))
    return MalformedInput(f"the group's metadata is broken: {error}", where)


def _bits(about: dict[str, Any], folder: str) -> dict[str, int]:
    """Return the bit width of each re-quantized tensor, from the group's attributes."""
    try:
        return {str(name): int(bits) for name, bits in about.get("bits", {}).items()}
    except (ValueError, OverflowError, AttributeError, TypeError) as error:
        raise _broken(folder, error) from error


def _layers(about: dict[str, Any]) -> int | None:
    """Return the number of layers from the group's attributes; None if they lack it."""
    geometry = about.get("geometry")
    layers = geometry.get("layers") if isinstance(geometry, dict) else None
    return layers if type(layers) is int and layers > 0 else None


READER = Reader(NAME, "zarr", is_store, survey)
