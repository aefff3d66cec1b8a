"""Answer of any command: what all documents share."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeAlias, TypeVar

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, description="Wall time")]
Share = Annotated[float, Field(ge=0, le=1)]
Counts = Sequence[Count]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Code = Annotated[
    str,
    Field(
        pattern="^GP[1-9][0-9]{2}$",
        description="A code that never changes its meaning; `grokpack explain CODE` says more",
    ),
]
Format = Annotated[str, Field(description="How the checkpoint is stored: `ckpt-0`, `safetensors`")]
FamilyTitle = Annotated[
    str,
    Field(
        description="Name of the model's family; with `architecture` behind it where the "
        "dimensions are not those of its release"
    ),
]
Success = Annotated[Literal["ok"], Field(description="`ok`, or `error` where the command failed")]

described = with_config(ConfigDict(use_attribute_docstrings=True))
"""Decorator of a whole document: the texts below its keys are their descriptions."""

Status = TypeVar("Status", bound=str)
Data = TypeVar("Data")


class ToolJson(TypedDict):
    """Program that made the document."""

    name: Literal["grokpack"]
    version: str


class FindingJson(TypedDict):
    """One thing that a check found."""

    code: Code
    severity: Literal["error", "warning"]
    """An error makes the answer no, a warning does not."""
    message: str
    """One sentence; its wording may change."""
    file: str | None
    """Path below `data.source`."""
    tensor: str | None
    """Parameter name, where one is concerned."""
    expected: str | None
    """The value that should be there, for people."""
    found: str | None
    """The value that is there, for people."""
    fix: NotRequired[str | None]
    """The command that mends it, where there is one."""


class NetworkJson(TypedDict):
    """Network that ran; documents of older versions do not name it."""

    family: NotRequired[FamilyTitle]
    gelu: NotRequired[Annotated[Literal["erf", "tanh"], Field(description="Form of GELU")]]


class FactJson(TypedDict):
    """One fact that explains an error."""

    label: str
    value: str


class ErrorJson(TypedDict):
    """Reason why the command ended."""

    code: Code
    message: str
    """One sentence; its wording may change."""
    file: str | None
    """The file it is about."""
    byte: int | None
    """Where in the file the trouble begins."""
    facts: list[FactJson]
    """Values that explain it: found, expected, needed."""
    hint: str | None
    """The next thing to do."""
    help: str
    """The code's place in the documentation."""


class ReasonsJson(TypedDict):
    """Part of every document that says why it ends as it does."""

    status: str
    findings: Sequence[FindingJson]
    errors: Sequence[ErrorJson]


@described
class AnswerJson(TypedDict, Generic[Status, Data]):
    """Document of a command that did not fail."""

    schema: str
    """The schema that this document keeps to; the number at its end rises only if something is
    taken away."""
    tool: ToolJson
    status: Status
    exit_code: Count
    """The exit status of the process."""
    data: Data
    """The answer; empty where the command failed."""
    findings: list[FindingJson]
    errors: Annotated[list[ErrorJson], Field(max_length=0)]
    """Why the command failed; empty where it did not."""


Answer: TypeAlias = AnswerJson[str, dict[str, Any]]
"""Document of any command, also of one that failed."""


@described
class FailureJson(TypedDict):
    """Document of a command that failed."""

    schema: str
    tool: ToolJson
    status: Literal["error"]
    exit_code: Positive
    data: Annotated[dict[str, Any], Field(max_length=0)]
    findings: list[FindingJson]
    errors: Annotated[list[ErrorJson], Field(min_length=1)]
