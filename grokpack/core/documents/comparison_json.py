"""Answer of `diff`: how the weights of two checkpoints differ."""

from typing import Annotated, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

from grokpack.core.documents.answer_json import AnswerJson, Count, Counts, FamilyTitle, Seconds

WeightState = Literal["equal", "rounded", "different"]
ComparisonStatus = Annotated[
    WeightState,
    Field(description="The worst state of all tensors, or `error` where the command failed"),
]


class DifferenceJson(TypedDict):
    """Difference between two tensors of a name."""

    name: str
    """xAI's name."""
    state: WeightState
    elements: Count
    """Values compared."""
    differing: Count
    """Values that are not equal."""
    largest: float | None
    """The largest absolute difference; null where it is infinite."""
    relative: float | None
    """Root of squared differences over squared values of the first; null where infinite."""
    first: Counts | None
    """Index of the first value that differs."""


class ComparisonJson(TypedDict):
    """Differences between the weights of two checkpoints."""

    first: str
    """One checkpoint."""
    second: str
    """The other."""
    first_family: NotRequired[FamilyTitle]
    second_family: NotRequired[FamilyTitle]
    dimensions: NotRequired[dict[str, list[int | None]]]
    """Dimensions in which the models differ, by name, of the first and of the second."""
    max_error: float | None
    """`--max-error`."""
    only_first: list[str]
    """Tensors that only the first has, or in another shape."""
    only_second: list[str]
    """Tensors that only the second has, or in another shape."""
    tensors: list[DifferenceJson]
    seconds: Seconds


ComparisonAnswer: TypeAlias = AnswerJson[ComparisonStatus, ComparisonJson]
