"""Extraction of tensors to one .npy or .safetensors file, streamed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import opened
from grokpack.checkpoint.summary import describe_tensors, not_read, unread_names
from grokpack.core.arrays import bytes_of
from grokpack.core.errors import GrokpackError, Interrupted, UnusableValue
from grokpack.core.layout import ArraySlice, FileLayout, Literal, Segment, whole_box
from grokpack.core.tiles import row_bands
from grokpack.formats import npy, safetensors

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.inspection_json import ExtractedJson
    from grokpack.core.paths import StrPath

_STEP_BYTES = 4 << 20


def extract(
    checkpoint: Checkpoint | StrPath, patterns: str | list[str], path: StrPath
) -> ExtractedJson:
    """Write tensors, as they are stored, to a file whose suffix gives the format.

    Args:
        checkpoint: The source, or its path.
        patterns: Names of tensors; `.npy` takes one tensor and leaves its scales out.
        path: A new file that ends in `.npy` or `.safetensors`.

    Raises:
        GrokpackError: GP202 if one of them cannot be read, GP346 for another suffix or no names,
            GP323 if the file exists, GP403 if this thread is to stop.
    """
    path, checkpoint = os.fspath(path), opened(checkpoint)
    chosen = [checkpoint.tensors[view["name"]] for view in describe_tensors(checkpoint, patterns)]
    absent = unread_names(checkpoint, patterns, checkpoint.tensors)
    suffix = os.path.splitext(path)[1]
    if not patterns or suffix not in (npy.SUFFIX, safetensors.SUFFIX):
        what = "--extract needs tensor names and a file that ends in .npy or .safetensors"
        raise UnusableValue(what, None, (("option", "--extract"),))
    if absent:
        raise not_read(checkpoint, absent)
    storage.refuse_existing(path)
    if suffix == npy.SUFFIX:
        if len(chosen) != 1:
            raise GrokpackError("GP304", f".npy holds one array, {len(chosen)} tensors match")
        arrays = {chosen[0].name: chosen[0].values}
        header = npy.header_bytes(chosen[0].values)
    else:
        arrays = {name: spec for tensor in chosen for name, spec in tensor.arrays().items()}
        arrays = dict(sorted(arrays.items(), key=lambda row: -row[1].dtype.itemsize))
        header = safetensors.header_bytes(arrays, {"format": "pt"})
    slices: list[Segment] = [ArraySlice(n, whole_box(s.shape), s.dtype) for n, s in arrays.items()]
    file = FileLayout(os.path.basename(path), (Literal(header), *slices))
    if suffix == safetensors.SUFFIX:
        safetensors.check_written(path, header, file.nbytes)
    _write(checkpoint, file, os.path.dirname(os.path.abspath(path)))
    return {"file": path, "bytes": file.nbytes, "arrays": list(arrays)}


def _write(checkpoint: Checkpoint, file: FileLayout, folder: str) -> None:
    reader = ArrayReader(checkpoint)
    with storage.new_file(os.path.join(folder, file.path), file.nbytes) as writer:
        for segment, end in zip(file.segments, file.ends, strict=True):
            at = end - segment.nbytes
            if isinstance(segment, Literal):
                writer.write(at, memoryview(segment.data))
                continue
            bands = row_bands(
                segment.box.shape, segment.dtype.itemsize, 0, segment.nbytes, _STEP_BYTES
            )
            for band in bands:
                if storage.stopping():
                    raise Interrupted("stopped before the file was whole")
                values = reader.read(segment.array, band.box)
                writer.write(at, bytes_of(values))
                at += band.nbytes
