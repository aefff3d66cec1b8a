"""Answer of `inspect`: what a checkpoint holds, and statistics of its values."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

from grokpack.core.documents.answer_json import (
    Amount,
    AnswerJson,
    Count,
    Counts,
    FamilyTitle,
    Format,
    Positive,
    Share,
)
from grokpack.core.documents.fit_json import FitJson

InspectionStatus = Annotated[
    Literal["ok", "incomplete", "too-large"],
    Field(
        description="`incomplete` where a file is there and cannot be read, or a tensor that was "
        "asked for is not; `too-large` where nothing fits the devices of `--fit`; `error` where "
        "the command failed"
    ),
]
_DIMENSIONS = ["vocab", "d_model", "layers", "experts", "ffn", "q_width", "kv_width", "head_dim"]
_DIMENSIONS += ["scale_groups", "q_heads", "kv_heads"]
GeometryJson = Annotated[
    dict[str, int | None],
    Field(
        description="Dimensions of the model; null where a config would have to tell",
        json_schema_extra={"required": [*_DIMENSIONS]},
    ),
]


class FilesJson(TypedDict):
    """Numbers of files."""

    expected: Count
    bad: Count


class ParametersJson(TypedDict):
    """Numbers of parameters."""

    total: Count
    active: Count
    """Used for one token."""
    by_role: dict[str, Count]


class PartSizeJson(TypedDict):
    """All tensors of one role: number, stored form and size."""

    part: str
    tensors: Count
    stored_as: str
    shapes: Sequence[Counts]
    nbytes: Count
    share: Share


class PieceJson(TypedDict):
    """A slice of an array and where it is stored."""

    file: str
    """Path below `data.source`."""
    offset: Count
    """First byte in the file."""
    bytes: Count
    start: Counts
    """Index of the slice's first element in the whole array."""
    shape: Counts
    array: NotRequired[str]
    """Name of the array in the file, where files hold slices for ranks of what is joined."""


class TensorJson(TypedDict):
    """One tensor, as stored."""

    name: str
    """xAI's parameter name."""
    role: str
    """`expert`, `attention`, `embedding`, `router`, `norm`."""
    title: str
    """Its place in the network, in words."""
    layer: int | None
    """Decoder layer, from 0."""
    dtype: str
    """Of the values: `int8`, `f32` and others."""
    shape: Counts
    parameters: Count
    """Values; scales are not counted."""
    scales_shape: Counts | None
    """Of the scales, bf16."""
    scale_groups: int | None
    """Scale rows per matrix."""
    rows_per_group: int | None
    """Input rows that share a scale."""
    tp_axis: int | None
    """Axis that tensor-parallel ranks cut, from 0; null where every rank holds all."""
    gguf: str
    """llama.cpp's name."""
    pieces: dict[str, list[PieceJson]]
    """By array, `values` and `scales`."""


class HistogramJson(TypedDict):
    """Numbers of values between two edges."""

    of: Literal["codes", "magnitude"]
    edges: list[float]
    """One more than counts; a bin ends before its upper edge."""
    counts: list[Count]


class NamedArrayJson(TypedDict):
    """Tensor whose values are described."""

    name: str
    dtype: str


PlainCount = Annotated[Count, Field(description="Of plain values")]


class FiguresJson(TypedDict):
    """Statistics of an array's values."""

    # described in annotations, which tensors inherit, unlike texts below the keys
    elements: Annotated[Count, Field(description="Values stored")]
    min: Annotated[float, Field(description="Of the finite values, scales applied")]
    max: float
    absmax: float
    rms: Annotated[Amount, Field(description="Root of the mean square of the finite values")]
    zero: Annotated[Count, Field(description="Zeros of either sign, or codes 0")]
    negative: Annotated[Count, Field(description="Below zero")]
    nan: NotRequired[PlainCount]
    posinf: NotRequired[PlainCount]
    neginf: NotRequired[PlainCount]
    subnormal: NotRequired[PlainCount]
    undefined: NotRequired[
        Annotated[Count, Field(description="Of int8: values whose scale is not finite")]
    ]
    saturated: NotRequired[Annotated[Count, Field(description="Of int8: codes -128, -127 and 127")]]
    minus_128: NotRequired[Annotated[Count, Field(description="Of int8: codes -128")]]
    histogram: HistogramJson
    places: Annotated[
        dict[str, Any], Field(description="For each kind of bad value, indices of the first")
    ]


class StatisticsJson(NamedArrayJson, FiguresJson):
    """Statistics of a tensor's values."""

    scales: FiguresJson | None
    """Of its scales, where it has some."""


class ViewJson(TypedDict):
    """View by which the checkpoint was named; null where it was named itself."""

    folder: str
    """Folder of the view."""
    opens: dict[str, Any]
    """TensorStore's spec of one of the arrays; empty where a folder's name is not UTF-8."""


class ExtractedJson(TypedDict):
    """File of `--extract`."""

    file: str
    bytes: Count
    arrays: list[str]


class InspectionJson(TypedDict):
    """Contents of a checkpoint."""

    source: str
    """Folder of the tensor files."""
    format: Format
    family: FamilyTitle
    unread: NotRequired[list[str]]
    """Names of tensors that were asked for, by name or with `--stats`, and could not be read."""
    complete: bool | None
    """True where every file is there and as it should be; null where nothing tells how many there
    should be."""
    files: FilesJson
    bytes: Count
    """Bytes of the files."""
    ranks: Positive
    """Tensor-parallel ranks that the files are cut for; 1 where they hold whole tensors."""
    geometry: GeometryJson
    parameters: ParametersJson
    widths: list[Count] | None
    """Values of `reshard --tp` that leave no remainder; null without the head size."""
    parts: list[PartSizeJson]
    tensors: list[TensorJson]
    """Those named on the command line, or all."""
    view: NotRequired[ViewJson | None]
    statistics: NotRequired[list[StatisticsJson]]
    """With `--stats`."""
    extracted: NotRequired[ExtractedJson]
    fit: NotRequired[FitJson]
    """With `--fit`."""


InspectionAnswer: TypeAlias = AnswerJson[InspectionStatus, InspectionJson]
