"""Checkpoints of Orbax: the files beside the arrays that say what the pytree is.

    _METADATA               the tree: for each leaf its keys, and what it is
    _CHECKPOINT_METADATA    who writes such checkpoints
    commit_success.txt      written last

Source: checkpoints that orbax-checkpoint 0.11.40 and 0.12.8 wrote, and its code's names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError
from grokpack.formats import bounded_json, zarr

if TYPE_CHECKING:
    from collections.abc import Iterable

TREE = "_METADATA"
CHECKPOINT = "_CHECKPOINT_METADATA"
COMMIT = "commit_success.txt"
DATABASE = "manifest.ocdbt"
_INDEX, _KEY = 1, 2  # kinds of keys: place in a sequence, key of a mapping
_HANDLER = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
_ARRAYS = ("jax.Array", "np.ndarray")
_MOST_LEAVES = 1 << 20

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """What the metadata of a checkpoint says.

    Attributes:
        leaves: Keys of every array.
        database: Whether the arrays lie in an OCDBT database.
        version: Of zarr, 2 or 3.
    """

    leaves: tuple[Keys, ...]
    database: bool
    version: int

    @property
    def metadata(self) -> str:
        """Name of the metadata of an array."""
        return zarr.METADATA if self.version == 3 else zarr.METADATA_2  # noqa: PLR2004  # zarr's


def parse(document: bytes) -> Tree:
    """The tree's metadata.

    Raises:
        GrokpackError: GP209 where it is broken.
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
        raise GrokpackError("GP209", f"the tree's metadata is broken: {error}") from error


def _is_plain(keys: Keys) -> bool:
    """Whether the folder of a leaf lies below the checkpoint's."""
    path = ".".join(keys)
    return bool(path) and not path.startswith("/") and ".." not in path.split("/")


def tree_document(leaves: Iterable[Keys]) -> bytes:
    """The tree of a checkpoint whose arrays are zarr 3 folders.

    A leaf is restored as a numpy array, or on any devices where the user names a sharding: a
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
    """Who restores the checkpoint; it holds no times, so that runs write it identically."""
    document: dict[str, Any] = {
        "item_handlers": _HANDLER,
        "metrics": {},
        "performance_metrics": {},
        "init_timestamp_nsecs": None,
        "commit_timestamp_nsecs": None,
        "custom_metadata": {},
    }
    return (json.dumps(document, indent=1) + "\n").encode()
