"""What a target can refuse only after a look at values: cheap ones, read before a run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.ops.chunked import Chunked
from grokpack.reading import ArrayReader
from grokpack.tensor import scales_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.checkpoint import Checkpoint
    from grokpack.ops import PackQ8

_LIMIT_BYTES = 1 << 30  # the release's scales are 125 MB; expanded ones are as much as the codes


def refuse_inexact(source: Checkpoint, packs: Sequence[PackQ8]) -> None:
    """Refuse scales that float16 cannot hold before hours of work, where they are few.

    Where they are not, because they stand expanded or in the blocks of a GGUF, each is checked
    while its blocks are packed.

    Raises:
        GrokpackError: GP406.
    """
    nbytes = sum(pack.tensor.scales.nbytes for pack in packs if pack.tensor.scales)
    views = [source.views.get(scales_name(pack.tensor.name)) for pack in packs]
    viewed = any(view is not None and not isinstance(view, Chunked) for view in views)
    if viewed or nbytes > _LIMIT_BYTES:
        return
    reader = ArrayReader(source)
    for pack in packs:
        pack.check(reader)
