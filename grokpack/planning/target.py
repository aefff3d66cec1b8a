"""Targets: the files that a plan writes and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grokpack.transforms.protocols import is_streamed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.layout import Layout
    from grokpack.formats.file_codec import FileCodec
    from grokpack.transforms.protocols import Op, StreamedArray


@dataclass(frozen=True, slots=True)
class Target:
    """Files of an output, and how each of their arrays is made.

    Attributes:
        format: Name of the format.
        layout: Files that are filled from arrays, paths relative to the output folder.
        ops: How each array of the layout is made.
        finals: Small files (config, index) that are written last, in order, before the manifest.
        framings: Pickle framing to be kept in the manifest.
        notes: Facts for the user before the run starts: surprising sizes, rounding.
        lossless: Whether every value, code and scale of the source can be recovered.
        single: Whether the output is one file of the name that the user gives.
        sparse: Whether every array is zero and left as a hole in its file.
        thread_bytes: Memory that each thread needs beside its steps, for arrays made whole.
        codec: Compression of the files; None for files as the layout has them. Compressed
            sizes are known only once the files are written.
        fixed_path: The one folder that the output can be in, for an index that points at the
            source's files and reads none of them; None for any folder.
        account: Account of choices made in planning, for the manifest, as JSON values.
    """

    format: str
    layout: Layout
    ops: Mapping[str, Op]
    finals: Mapping[str, bytes] = field(default_factory=dict)
    framings: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lossless: bool = True
    single: bool = False
    sparse: bool = False
    codec: FileCodec | None = None
    thread_bytes: int = 0
    account: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files_bytes(self) -> int:
        """Bytes of the layout's files, or the most that they can take if they are compressed."""
        if self.codec is None:
            return self.layout.nbytes
        return sum(self.codec.bound(file) for file in self.layout.files())

    fixed_path: str | None = None

    @property
    def streams(self) -> bool:
        """True if an op reads column bands of the source."""
        return bool(self._streamed())

    @property
    def caches_scales(self) -> bool:
        """True if scales found for one array are kept for others."""
        return any(op.caches_scales for op in self._streamed())

    @property
    def quantizes(self) -> bool:
        """True if an op chooses scales, which costs arithmetic and not only moving bytes."""
        return any(op.quantizes for op in self._streamed())

    def _streamed(self) -> list[StreamedArray]:
        """Pick one op of each streamed type."""
        one_of_each = {type(op): op for op in self.ops.values()}.values()
        return [op for op in one_of_each if is_streamed(op)]
