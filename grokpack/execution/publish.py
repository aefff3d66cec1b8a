"""Publishing: files get their names, then come the small files, and last the manifest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Literal
from grokpack.core.tiles import tile_count
from grokpack.execution.quantization_error import ErrorStats, document
from grokpack.execution.written_files import written_files
from grokpack.formats import safetensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.events import Listener
    from grokpack.core.layout import Layout
    from grokpack.execution.output import Output
    from grokpack.execution.receipt import Receipt
    from grokpack.planning.plan import Plan


def sum_error_stats(plan: Plan, receipts: list[Receipt]) -> Mapping[str, Any]:
    """Sum up the error statistics of all tiles; empty if nothing was quantized."""
    total: dict[str, ErrorStats] = {}
    for receipt in receipts:
        for tile in receipt.error_stats:
            for name, own in tile.items():
                total.setdefault(name, ErrorStats()).merge(own)
    return document(total, plan.source.model) if total and plan.source else {}


def publish(
    plan: Plan,
    output: Output,
    receipts: list[Receipt],
    error_stats: Mapping[str, Any],
    listen: Listener,
) -> int:
    """Publish an output whose every tile has one receipt.

    Returns:
        Bytes of the files.

    Raises:
        GrokpackError: GP323 where another file has the name, GP329 where a file is not as it
            was written, GP901 where a tile has no receipt, or a header is none.
    """
    layout = plan.target.layout
    sums, decoded = _file_sums(layout, receipts), {}
    _check_headers(layout)
    if plan.target.codec is not None:
        sums, decoded = _encoded_sums(layout, receipts), sums
    files = {output.file(path): row for path, row in written_files(layout, receipts).items()}
    _refuse_loss(output, files, published=False)
    output.sink.publish_all(files, listen)
    output.sink.settle({output.root, *map(os.path.dirname, files)})
    finals = {os.path.join(output.root, n): data for n, data in plan.target.finals.items()}
    output.sink.write_small(finals)
    files |= {path: storage.WrittenParts(len(d), {}, (), whole=True) for path, d in finals.items()}
    _refuse_loss(output, files, published=True)
    if plan.target.fixed_path is not None and plan.source is not None:
        output.journal.keep(plan.source.stamps())
    rendered = manifest_file.render(
        _description(plan, error_stats), sums, plan.target.framings, decoded
    )
    output.sink.conclude(output.manifest_path, rendered)
    output.journal.finish()
    return sum(nbytes for nbytes, _ in sums.values())


def _check_headers(layout: Layout) -> None:
    """Check the headers that this run made; a copied file has none."""
    for file in layout.files():
        first = file.segments[0] if file.segments else None
        if file.path.endswith(safetensors.SUFFIX) and isinstance(first, Literal):
            safetensors.check_written(file.path, first.data, file.nbytes)


def _refuse_loss(
    output: Output, files: Mapping[str, storage.WrittenParts], *, published: bool
) -> None:
    """Check that every file is there as it was written.

    Raises:
        GrokpackError: GP329 where one is not.
    """
    lost = output.sink.lost_files(files, published=published)
    if lost:
        raise storage.files_lost(lost)


def _description(plan: Plan, error_stats: Mapping[str, Any]) -> dict[str, Any]:
    finals = sorted(plan.target.finals.items())
    return {
        "licence": plan.spdx,
        "plan": plan.digest(),
        **plan.description(),
        "finals": {name: manifest_file.row_of(data) for name, data in finals},
        "lossless": plan.target.lossless,
        **({"account": error_stats} if error_stats else {}),
    }


def _encoded_sums(layout: Layout, receipts: list[Receipt]) -> dict[str, tuple[int, list[str]]]:
    """Return size and checksums of compressed files as they are on disk; each has a receipt."""
    return {
        file.path: (written.nbytes, list(written.sums))
        for receipt in receipts
        for file, written in zip(
            layout.file_groups[receipt.file_group], receipt.compressed, strict=True
        )
    }


def _file_sums(layout: Layout, receipts: list[Receipt]) -> dict[str, tuple[int, list[str]]]:
    """Return size and checksums of every file of the layout.

    Raises:
        GrokpackError: GP901 where a tile has no receipt: nothing may be published then.
    """
    sums = {f.path: (f.nbytes, [""] * tile_count(f.nbytes)) for f in layout.files()}
    for receipt in receipts:
        for file, digests in zip(layout.file_groups[receipt.file_group], receipt.sums, strict=True):
            sums[file.path][1][receipt.first : receipt.last] = digests
    if any("" in digests for _, digests in sums.values()):
        raise GrokpackError("GP901", "a tile was never written, so nothing was published")
    return sums
