"""Plans: what is written, from which source, and at what cost; settled before the first byte."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.layout import Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.documents.plan_json import OriginJson
    from grokpack.core.layout import Segment
    from grokpack.planning.target import Target

_WORDS = ((None, "none"), (True, "yes"), (False, "no"))


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """Everything that decides an output: source, target and parameters.

    Attributes:
        command: The command that made it, such as `reshard`.
        parameters: Its options that change the output, as JSON values.
        source: The checkpoint that is read; None for a synthetic one.
        target: The files that are written.
        licence: SPDX identifier of the weights' licence; None for that of the source's.
    """

    command: str
    parameters: Mapping[str, Any]
    source: Checkpoint | None
    target: Target
    licence: str | None = None
    _digest: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the digest, which every step of a run asks for."""
        object.__setattr__(self, "_digest", self._computed_digest())

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        count = sum(1 for _ in self.target.layout.files())
        size = byte_size(self.target.layout.nbytes)
        return f"<Plan {self.command}({options}): {counted(count, 'file')}, {size}>"

    @property
    def spdx(self) -> str:
        """The licence of the output's weights, as an SPDX identifier."""
        assert self.licence or self.source  # noqa: S101  # a synthetic one has its own
        own = self.source.model.family.publication.spdx if self.source else ""
        return self.licence or own

    def description(self) -> OriginJson:
        """Describe the output's origin, for the manifest."""
        origin: OriginJson = {
            "command": self.command,
            "parameters": dict(self.parameters),
            "source": None if self.source is None else self.source.identity(),
            "format": self.target.format,
        }
        if self.target.codec is not None:
            origin["encoding"] = self.target.codec.describe()
        return origin

    def digest(self) -> str:
        """Compute the digest of source identity, target layout, ops and parameters (sha256, hex).

        Paths, memory, tiling and workers are not part of it and may change between runs.
        """
        return self._digest

    def _computed_digest(self) -> str:
        files = [
            [file.path, file.nbytes, [_segment(s) for s in file.segments]]
            for file in self.target.layout.files()
        ]
        ops = {name: op.describe() for name, op in self.target.ops.items()}
        finals = {
            name: hashlib.sha256(data).hexdigest() for name, data in self.target.finals.items()
        }
        document = [self.description(), files, ops, finals]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def anywhere(self) -> Plan:
        """Return the plan with an absolute path to its source, for other processes."""
        return replace(self, source=self.source and self.source.anywhere())

    @property
    def streams(self) -> bool:
        """True if an op or a lazy array of the source reads column bands."""
        return self.target.streams or bool(self.source and self.source.views)

    @property
    def writes_bytes(self) -> int:
        """Bytes of the output without the manifest, or the most that compressed files can take."""
        return self.target.files_bytes + sum(map(len, self.target.finals.values()))

    @property
    def disk_bytes(self) -> int:
        """Bytes that the output takes on disk: all of them, unless its arrays are holes."""
        return 0 if self.target.sparse else self.writes_bytes

    @property
    def reads_bytes(self) -> int:
        """Bytes of the source's files, each read once; zero for an index that points at them."""
        return self.source.layout.nbytes if self.source and self.target.fixed_path is None else 0


def _segment(segment: Segment) -> list[object]:
    if isinstance(segment, Literal):
        return [hashlib.sha256(segment.data).hexdigest()]
    return [segment.array, segment.box.start, segment.box.shape, segment.dtype.value]


def in_words(value: object) -> str:
    """Return the value of a parameter as text: `yes`, `no` and `none`, and others as they are."""
    return next((word for one, word in _WORDS if value is one), str(value))
