"""Manifest `grokpack.json`, and the answer of the command `manifest` that records one."""

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import ConfigDict, Field, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from grokpack.core.documents.answer_json import (
    AnswerJson,
    Count,
    Seconds,
    Sha256,
    Success,
    ToolJson,
    described,
)

Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
_ONE_TABLE: JsonDict = {"oneOf": [{"required": ["tiles"]}, {"required": ["tiles_zstd"]}]}


@with_config(ConfigDict(use_attribute_docstrings=True, json_schema_extra=_ONE_TABLE))
class FileRowJson(TypedDict):
    """Size and checksums of a file."""

    bytes: Count
    """Its size."""
    tiles: NotRequired[Annotated[str, Field(pattern="^([0-9a-f]{32})*$")]]
    """Checksums of its tiles in order, 32 hex digits each."""
    tiles_zstd: NotRequired[Base64]
    """Those of a file of more than 64 tiles: 16 bytes each, compressed with zstd, in base64."""
    sha256: NotRequired[Sha256]
    decoded: "NotRequired[FileRowJson]"
    """Of a compressed file, the same of what it stands for."""


class FramingsJson(TypedDict):
    """Literal bytes of pickles that are not framed as the release's are."""

    literals: list[list[Base64]]
    tensors: dict[str, Count]
    """Row of `literals` by tensor."""


@described
class ManifestJson(TypedDict):
    """Identity of an output or a recorded checkpoint, its source, and checksums of its files.

    It holds no clock, host, path, worker count or budget: two runs of one plan write it
    identically.
    """

    schema: Literal["grokpack/manifest/1"]
    """Form and version of the document."""
    tool: ToolJson
    """The program that wrote it."""
    licence: str
    """Of the weights, as an SPDX identifier."""
    plan: NotRequired[Sha256]
    """Digest (sha256) of source, layout, ops and parameters; absent for recorded files."""
    command: NotRequired[str]
    """The command that wrote the files."""
    parameters: NotRequired[dict[str, Any]]
    """Its options that change the output."""
    source: NotRequired[Sha256 | None]
    """Digest (sha256) of names, sizes and headers of the source's files; null where there is
    none."""
    format: NotRequired[str]
    """Of the files."""
    encoding: NotRequired[dict[str, Any] | list[Any] | str]
    """How the files are kept, where not as the format has them."""
    lossless: NotRequired[bool]
    """True where every value, code and scale of the source can be had back."""
    account: NotRequired[dict[str, Any]]
    """Loss by quantizing, tensor by tensor."""
    tile_bytes: Literal[16777216]
    """Length of the ranges that have a checksum each, from byte 0 of a file."""
    checksum: Literal["xxh3_128"]
    """Of each tile: XXH3 with 128 bits, its canonical (big-endian) bytes."""
    files: dict[str, FileRowJson]
    """By path below the manifest's folder."""
    finals: NotRequired[dict[str, FileRowJson]]
    """Small files that go with them: configs, indices, the tokenizer, the LICENSE."""
    framings: NotRequired[FramingsJson]


class RecordingJson(TypedDict):
    """Record that was made of a checkpoint's files."""

    source: str
    """The checkpoint."""
    manifest: str
    """The file that was written."""
    files: Count
    """How many files it names."""
    bytes: Count
    """Bytes of these files."""
    sha256: bool
    """True where it has the sha256 of each."""
    seconds: Seconds


RecordingAnswer: TypeAlias = AnswerJson[Success, RecordingJson]
