"""Orbax checkpoints: the files beside the arrays that describe the pytree.

    _METADATA               the tree: the keys and the type of each leaf
    _CHECKPOINT_METADATA    the handler that restores it
    commit_success.txt      written last

Source: checkpoints that orbax-checkpoint 0.11.40 and 0.12.8 wrote, and the names in its code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import MalformedInput
from grokpack.formats import bounded_json, zarr_shards

if TYPE_CHECKING:
    from collections.abc import Iterable

TREE = "_METADATA"
CHECKPOINT = "_CHECKPOINT_METADATA"
COMMIT = "commit_success.txt"
DATABASE = "manifest.ocdbt"
_INDEX, _KEY = 1, 2  # kinds of keys: index in a sequence, key of a mapping
_HANDLER = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
_ARRAYS = ("jax.Array", "np.ndarray")
_MOST_LEAVES = 1 << 20

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Metadata of a checkpoint's tree.

    Attributes:
        leaves: Keys of every array.
        database: True if the arrays lie in an OCDBT database.
        version: Version of zarr, 2 or 3.
    """

    leaves: tuple[Keys, ...]
    database: bool
    version: int

    @property
    def metadata(self) -> str:
        """Name of the file of an array's metadata."""
        return zarr_shards.METADATA if self.version == 3 else zarr_shards.METADATA_2  # noqa: PLR2004  # zarr's


def parse(document: bytes) -> Tree:
    """Parse the tree's metadata.

    Raises:
        GrokpackError: GP209 if it is broken.
    """
    try:
        parsed = bounded_json.parse(document)
        rows = parsed["tree_metadata"].values()
        leaves = tuple(
            tuple(str(key["key"]) for key in row["key_metadata"])
            for row in rows
            if row["value_metadata"]["value_type"] in _ARRAYS
        )
        if len(leaves) > _MOST_LEAVES or not all(_is_plain(keys) for keys in leaves):
            raise ValueError(len(leaves))
        version = 3 if parsed.get("use_zarr3") else 2
        return Tree(leaves, bool(parsed.get("use_ocdbt", True)), version)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedInput(f"the tree's metadata is broken: {error}") from error


def _is_plain(keys: Keys) -> bool:
    """Return whether the folder of a leaf lies below the checkpoint's."""
    path = ".".join(keys)
    return bool(path) and not path.startswith("/") and ".." not in path.split("/")


def tree_document(leaves: Iterable[Keys]) -> bytes:
    """Render the tree of a checkpoint whose arrays are zarr 3 folders.

    A leaf is restored as a numpy array, or on any devices for which the user names a sharding: a
    jax.Array would have to name the devices that it was saved from.
    """
    rows = {
        str(keys): {
            "key_metadata": [
                {"key": key, "key_type": _INDEX if key.isdecimal() else _KEY} for key in keys
            ],
            "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
        }
        for keys in leaves
    }
    document: dict[str, Any] = {
        "tree_metadata": rows,
        "use_ocdbt": False,
        "use_zarr3": True,
        "store_array_data_equal_to_fill_value": True,
        "custom_metadata": None,
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def checkpoint_document() -> bytes:
    """Render the checkpoint's metadata, without times, so that every run writes the same bytes."""
    document: dict[str, Any] = {
        "item_handlers": _HANDLER,
        "metrics": {},
        "performance_metrics": {},
        "init_timestamp_nsecs": None,
        "commit_timestamp_nsecs": None,
        "custom_metadata": {},
    }
    return (json.dumps(document, indent=1) + "\n").encode()
