"""Targets: the files that a plan writes and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.transforms.protocols import QuantizingOp, StreamedOp
from grokpack.transforms.quantizer import SharesQuantizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grokpack.core.layout import Layout
    from grokpack.formats.file_codec import FileCodec
    from grokpack.transforms.protocols import Op


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be written.

    Attributes:
        format: Name of the format.
        layout: Files that are filled from arrays, paths relative to the output folder.
        ops: How each array of the layout is made.
        finals: Small files (config, index) that are written last, in order, before the manifest.
        framings: Pickle framing to be remembered in the manifest.
        notes: What the user should know before it starts: sizes that surprise, what is rounded.
        lossless: Whether every value, code and scale of the source can be had back.
        single: Whether the output is one file of the name that the user gives.
        sparse: Whether every array is zero and left as a hole in its file.
        thread_bytes: Memory that each thread needs beside its steps: what an op must make whole.
        encoding: How the files are kept, where not as the layout has them; what they take is known
            when they are written.
        place: The one folder that it can be written to, for what points at the source's files from
            there and reads none of them; None for any.
    """

    format: str
    layout: Layout
    ops: Mapping[str, Op | StreamedOp]
    finals: Mapping[str, bytes] = field(default_factory=dict)
    framings: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lossless: bool = True
    single: bool = False
    sparse: bool = False
    encoding: FileCodec | None = None
    thread_bytes: int = 0

    @property
    def files_bytes(self) -> int:
        """Bytes of the layout's files; the most they can be where they are encoded."""
        if self.encoding is None:
            return self.layout.nbytes
        return sum(self.encoding.bound(file) for file in self.layout.files())

    place: str | None = None

    @property
    def streams(self) -> bool:
        """Whether an op reads blocks of the source, for kernels to make pieces of."""
        return any(isinstance(op, StreamedOp) for op in self._one_of_each_type())

    @property
    def remembers(self) -> bool:
        """Whether an op's fit serves several arrays, so that some of it is kept."""
        return any(isinstance(op, SharesQuantizer) for op in self._one_of_each_type())

    @property
    def quantizes(self) -> bool:
        """Whether an op chooses scales, which is arithmetic and no mere moving of bytes."""
        return any(
            isinstance(op, SharesQuantizer | QuantizingOp) for op in self._one_of_each_type()
        )

    def _one_of_each_type(self) -> Iterable[Op | StreamedOp]:
        """Few ops stand for all: before Python 3.12 a protocol takes 100 us for each."""
        return {type(op): op for op in self.ops.values()}.values()
