"""Answer of `verify`: whether a checkpoint is whole."""

from typing import Annotated, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

from grokpack.core.documents.answer_json import AnswerJson, Count, FamilyTitle, Format, Seconds

VerificationStatus = Annotated[
    Literal["whole", "ok", "damaged", "unfinished", "unreadable"],
    Field(
        description="The answer: `ok` where nothing is wrong with what was looked at, and it is "
        "not known whether that is all; `unreadable` where all that is wrong is that the system "
        "refuses files; `error` where the command failed"
    ),
]
CheckResult = Literal["ok", "partial", "failed", "skipped"]


class CheckedFilesJson(TypedDict):
    """Numbers of files."""

    expected: Count
    ok: Count
    bad: Count
    """Files that have a finding of severity `error`."""


class ContentsJson(TypedDict):
    """Outcome of reading the files; null where they were not read."""

    against: str
    """The manifest, or the list of sums."""
    total_bytes: Count
    """Of the checkpoint's files, whether there is something to compare them with or not."""
    read_bytes: Count
    """Compared this time."""
    total_files: NotRequired[Count]
    """How many files that are."""
    compared_files: NotRequired[Count]
    """Files of which every byte was compared this time."""
    never_read_bytes: Count
    """Of those that no check has compared yet, remembered ones included."""
    ended: bool
    """True where all that was asked for was read."""


class LayerStateJson(TypedDict):
    """State of a decoder layer."""

    layer: Count
    tensors: Count
    """Tensors that the layer should have."""
    bad: list[str]
    """Names, below the layer's, of those that have an error."""


class VerificationJson(TypedDict):
    """State of a checkpoint, as far as it was checked."""

    source: str
    """Folder of the tensor files."""
    format: Format
    family: FamilyTitle
    complete: NotRequired[bool | None]
    """True where all files are there; null where nothing tells how many there should be."""
    files: CheckedFilesJson
    bytes: Count
    """Bytes of the files that could be read."""
    checks: Annotated[
        dict[str, CheckResult],
        Field(json_schema_extra={"required": ["structure", "contents", "values"]}),
    ]
    """By check (`structure`, `contents`, `values`, ...) how it went."""
    contents: NotRequired[ContentsJson | None]
    layers: list[LayerStateJson]
    """State by decoder layer; empty where the dimensions cannot be told."""
    fix: str | None
    """Command that fetches only the bad files, where there is one."""
    seconds: Seconds


VerificationAnswer: TypeAlias = AnswerJson[VerificationStatus, VerificationJson]
