"""Plan of `convert`, `quantize`, `reshard` and `synth`, and what a run of it did."""

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

from grokpack.core.documents.answer_json import (
    Amount,
    AnswerJson,
    Count,
    FamilyTitle,
    Positive,
    Sha256,
    Success,
)

Limit = Annotated[
    Literal["workers", "cores", "reading", "writing", "tasks"],
    Field(
        description="What there would have to be more of: workers, this machine's cores, bandwidth "
        "of reading or of writing, or tasks"
    ),
]


class OriginJson(TypedDict):
    """Origin of an output: all of its plan that manifests and journals record."""

    command: str
    parameters: dict[str, Any]
    source: str | None
    format: str
    encoding: NotRequired[dict[str, Any]]


class ClusterJson(TypedDict):
    """Dask cluster of `--workers dask://`."""

    workers: Positive
    """Its processes."""
    threads: Positive
    """Threads in all."""


class PredictionJson(TypedDict):
    """Predicted time with a number of workers."""

    workers: int
    seconds: float
    limit: Limit


class EstimateJson(TypedDict):
    """Guess from a short probe, with `--dry-run`."""

    workers: int
    """Threads here, or those of a cluster."""
    seconds: float
    """Wall time."""
    limit: Limit
    useful_workers: int
    """Workers on other machines beyond which nothing is gained."""
    elsewhere: list[PredictionJson]
    """Predictions for so many workers on machines of their own."""
    read_bytes_per_s: float | None
    """Rate that the source's storage gives to several who read."""
    write_bytes_per_s: float | None
    """Rate that the output's storage takes from several who write."""
    one_bytes_per_s: float
    """Output that one thread makes."""
    here_bytes_per_s: float
    """Output that a thread on each core of this machine makes."""


class AccountJson(TypedDict):
    """Loss by quantizing some weights; weights of zero only have no ratios."""

    weights: Count
    """Weights that were quantized."""
    groups: Count
    """Groups that share a scale, or 32 weights of a GGUF."""
    zero_groups: Count
    """Groups of zeros only, not counted in `groups`."""
    relative_error: NotRequired[Amount]
    """Root of the sum of squared errors over that of squared weights."""
    sqnr_db: NotRequired[float | None]
    """Signal to quantization noise in decibels; null where nothing was lost."""
    cosine: NotRequired[float]
    """Of the angle between weights and what they became."""
    worst_group: NotRequired[Amount]
    """Largest relative error of a group."""
    saturated_share: NotRequired[Amount]
    """Codes at either end of their range, as a share of weights."""
    zeroed_share: NotRequired[Amount]
    """Weights that are not zero and became zero, as a share."""
    histogram_db: NotRequired[dict[str, Count]]
    """Groups by their own SQNR in whole decibels."""


class AllocatedJson(TypedDict):
    """Form that was chosen for a weight, and what speaks for it."""

    form: str
    """The form: `q4_k`, `int4`, `bf16`."""
    share: Amount
    """How much its relative squared error counts."""
    errors: dict[str, Amount]
    """Relative error of every form that it could have."""


class AllocationJson(TypedDict):
    """Choice of forms within a size."""

    limit_bytes: Count
    """The size that was asked for."""
    relative_error: Amount
    """Expected relative error of the logits: root of the sum of shares times squared errors."""
    least_error: Amount
    """Error that no choice of this size is below."""
    weights: Count
    """Weights whose forms were chosen."""
    measured_weights: Count
    """Those of them on which errors were measured."""
    policy: str
    """Policy file that gives the same output."""
    tensors: dict[str, AllocatedJson]
    """By xAI's parameter name."""


class AccountsJson(TypedDict):
    """After a run of `quantize`: what was lost; absent where nothing was quantized anew."""

    roles: dict[str, AccountJson]
    """By role: `expert`, `attention`."""
    tensors: dict[str, AccountJson]
    """By xAI's parameter name."""
    allocation: NotRequired[AllocationJson]
    """With `--avg-bits` or `--size`: what was chosen, and by what."""


class PlanJson(TypedDict):
    """A plan and, after a run, what it did."""

    plan: Sha256
    """sha256 of what decides every byte of the output; the same plan continues the same run."""
    command: str
    """The command that made it."""
    parameters: dict[str, Any]
    """Options that change the output."""
    source: str | None
    """sha256 of the source's headers."""
    source_folder: str | None
    """Folder that is read."""
    family: NotRequired[FamilyTitle | None]
    """The family that the source was taken for; null without a source."""
    format: str
    """Format of the output."""
    encoding: dict[str, Any] | None
    """How the files are compressed; null where they are not."""
    out: str
    """Folder that is written."""
    reads_bytes: Count
    """Bytes of the source; each is read once."""
    source_files: Count
    """Files of the source."""
    writes_bytes: Count
    """Exact bytes of the output, but for the manifest; the most it can be where `encoding` is not
    null."""
    files: Count
    """Tensor files of the output."""
    disk_bytes: Count
    """Bytes that the output takes on disk; the most at a time where files leave it for the hub."""
    disk_free_bytes: Count
    """Bytes free there now; 0 where it is a bucket, or a file system that does not tell."""
    made_in: NotRequired[str]
    """Folder in which files are made that leave it for the hub."""
    memory_bytes: Count
    """Resident memory that the run keeps to."""
    memory_allowed_bytes: Count
    """Memory that `--memory` allows."""
    workers: Positive
    """Threads of a process."""
    cluster: ClusterJson | None
    lossless: bool
    """True where no value is rounded."""
    notes: list[str]
    """Notes that one should read before the run."""
    opens: NotRequired[dict[str, Any]]
    """After `--to view`: TensorStore's spec of one of the arrays; empty where a folder's name is
    not UTF-8."""
    estimate: EstimateJson | None
    already_done: NotRequired[bool]
    """After a run: whether an earlier one had finished the output."""
    seconds: NotRequired[Amount]
    """After a run: its wall time."""
    written_bytes: NotRequired[Count]
    """After a run: what it wrote; less than `writes_bytes` where it continued another."""
    processes: NotRequired[Count]
    """After a run: processes that did tasks of it."""
    part: NotRequired[Annotated[list[Positive], Field(min_length=2, max_length=2)]]
    """With `--part`: its number, and of how many."""
    part_bytes: NotRequired[Count]
    """With `--part`: bytes of the share."""
    outstanding_bytes: NotRequired[Count]
    """After a part that leaves others: bytes that none has written."""
    outstanding_parts: NotRequired[list[Positive]]
    """Then: parts that have some of these."""
    account: NotRequired[AccountsJson]
    allocation: NotRequired[AllocationJson]
    """With `--avg-bits` or `--size`: what was chosen, and by what."""


PlanAnswer: TypeAlias = AnswerJson[Success, PlanJson]
