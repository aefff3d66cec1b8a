"""Writer of virtual stores: an index that makes a checkpoint's files a zarr 3 store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint.layouts import virtual_store_layout
from grokpack.checkpoint.readers import virtual_store_reader
from grokpack.checkpoint.virtual_store import store_index
from grokpack.conversion.writers.writer_row import Writer
from grokpack.core.errors import GrokpackError, Place
from grokpack.core.layout import FileLayout, Layout, Literal
from grokpack.formats import ocdbt
from grokpack.planning.target import Target

NAME = virtual_store_layout.NAME

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class VirtualStoreOptions:
    """Options of writing an index.

    Attributes:
        out: The folder of the index, on which its paths depend; None for the usual one beside the
            source.
    """

    out: str | None = None


def beside(source: Checkpoint) -> str:
    """Return the usual folder: `ckpt-0.view` beside `ckpt-0`."""
    return store_index.normal_path(source.place) + ".view"


def to_view(source: Checkpoint, options: VirtualStoreOptions) -> Target:
    """Make the target: the index of a checkpoint's files.

    Raises:
        GrokpackError: GP316 if only the root of the file system holds both folders, GP306 if the
            files hold an array in a form that cannot be read as chunks.
    """
    if not virtual_store_reader.can_hold(source.format) or storage.is_url(source.folder):
        raise _not_dense(source)
    folder = store_index.normal_path(options.out or beside(source))
    base = _base(source, folder)
    database = store_index.of_view(source, base, folder)
    nodes = FileLayout(store_index.NODES, (Literal(database.nodes),))
    index = {store_index.NODES: database.nodes, ocdbt.MANIFEST: database.manifest}
    finals = {
        virtual_store_layout.RECORD: virtual_store_layout.record(source, base, folder, index),
        ocdbt.MANIFEST: database.manifest,
    }
    return Target(NAME, Layout({}, ((nodes,),)), {}, finals, fixed_path=folder)


def opens(source: Checkpoint, folder: str) -> dict[str, Any]:
    """Return the TensorStore spec that opens one array of the view, as an example."""
    return store_index.shown_spec(_base(source, folder), folder, store_index.example(source))


def _base(source: Checkpoint, folder: str) -> str:
    """Return the folder that holds both the view and the checkpoint.

    Raises:
        GrokpackError: GP316 if that is the root of the file system.
    """
    base = os.path.commonpath(
        [store_index.normal_path(folder), store_index.normal_path(source.folder)]
    )
    if base == os.path.sep:
        raise _no_common_folder(source, folder)
    return base


def _not_dense(source: Checkpoint) -> GrokpackError:
    what = "a view points at dense arrays in local files, and nothing else"
    hint = "open it with `grokpack.open` as it is, or write `--to safetensors` first"
    return GrokpackError("GP306", what, Place(source.place), hint=hint)


def _no_common_folder(source: Checkpoint, folder: str) -> GrokpackError:
    what = "no folder but the root holds both the view and the checkpoint"
    facts = (("view", folder), ("checkpoint", source.folder))
    hint = "use an `--out` near the checkpoint: paths in the index cannot leave their base"
    return GrokpackError("GP316", what, Place(folder), facts, hint)


WRITER = Writer(
    NAME,
    "an index that opens the files as they lie in any TensorStore program, nothing copied",
    VirtualStoreOptions,
    to_view,
    lambda _: NAME,
    needs_head_size=False,
    beside=beside,
    opens=opens,
)
