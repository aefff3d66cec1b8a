"""Answer of `evaluate`: what a network computes, or how far another is from it."""

from typing import Annotated, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

from grokpack.core.documents.answer_json import (
    Amount,
    AnswerJson,
    Count,
    Counts,
    NetworkJson,
    Positive,
    Seconds,
)

EvaluationStatus = Annotated[
    Literal["ok", "within", "beyond", "alike", "apart"],
    Field(
        description="`ok` for one network, and for several candidates without limits; `within` or "
        "`beyond` limits for others; `error` where the command failed; `alike` and `apart` in "
        "documents of older versions"
    ),
]
PartName = Literal["embedding", "attention", "experts", "head"]


class LossJson(TypedDict):
    """Quality of predictions; null where no token was predicted, or a figure is infinite."""

    tokens: Count
    """Tokens that were predicted."""
    mean: float | None
    """Of minus the logarithm of their probabilities, in nats."""
    error: float | None
    """Standard error of the mean."""
    perplexity: float | None
    """The exponential of the mean."""
    perplexity_error: float | None
    """Its standard error."""
    top1: float | None
    """Share of them that were the likeliest."""


class LayerJson(TypedDict):
    """Figures of a layer: of one network what flowed through it, of two relative errors."""

    layer: Count
    rms: NotRequired[float]
    """Root mean square of the residual stream after it."""
    largest: NotRequired[float]
    """Largest absolute value there."""
    attention_rms: NotRequired[float]
    """Of what attention added."""
    experts_rms: NotRequired[float]
    """Of what the experts added."""
    load: NotRequired[Counts]
    """Tokens that each expert worked on."""
    gate: NotRequired[float]
    """Mean share of a token's best expert."""
    stream: NotRequired[float | None]
    """Relative error of the stream after it."""
    attention: NotRequired[float | None]
    """Relative error of what attention adds to the same stream."""
    experts: NotRequired[float | None]
    """Relative error of what the experts add to the same stream."""
    flips: NotRequired[float | None]
    """Share of tokens for which the routers chose other experts."""
    cosine: NotRequired[float | None]
    """Mean cosine of both residual streams after it."""


class DivergenceJson(TypedDict):
    """KL divergence of the other's predictions, in nats."""

    mean: float | None
    p99: float | None
    largest: float | None


class PartErrorJson(TypedDict):
    """Error of a part of the network on the same input, and its limit."""

    part: PartName
    layer: Count | None
    error: float | None
    """Its relative error."""
    limit: float | None
    """The error that the formats of its weights allow."""


class SuspectJson(TypedDict):
    """Part that errs by more than its limit."""

    part: PartName
    layer: Count | None
    error: float | None
    """Its relative error."""
    typical: float | None
    """Null: parts are held against `limit`, not against one another."""
    limit: NotRequired[float | None]
    """The error that the formats of its weights allow."""


class UnequalJson(TypedDict):
    """Weight that is not equal in both networks."""

    name: str
    """xAI's name."""
    expert: Count | None
    state: Literal["within", "otherwise", "beyond"]
    expected: str
    """Differences that the formats allow, in words."""
    elements: Positive
    """Values compared."""
    differing: Count
    """Values not equal."""
    beyond: Count
    """Values further apart than allowed."""
    relative: NotRequired[float | None]
    """Relative error."""
    allowed: NotRequired[float | None]
    """Relative error that the formats allow."""
    largest: NotRequired[float | None]
    """Largest absolute difference."""
    first: NotRequired[Counts | None]
    """Index of the first value beyond."""


class WeightsJson(TypedDict):
    """Weights of both as values; each expert of a stack counts by itself."""

    equal: Count
    """Equal in every value."""
    within: Count
    """Within what the formats allow."""
    otherwise: Count
    """Beyond it, and the same in what they compute."""
    beyond: Count
    """Beyond what the formats allow."""
    unequal: list[UnequalJson]
    """Those that are not equal."""


class CandidateJson(TypedDict):
    """One of several candidates, by its distance from the source."""

    against: str
    """The candidate."""
    nbytes: Count
    """Bytes of its files."""
    bits: Amount
    """Bits of its files for each parameter."""
    loss: LossJson
    """Its quality of predictions."""
    kl: DivergenceJson
    top1: float
    """Share of tokens whose likeliest successor is the same."""
    top8: float
    """Share of the eight likeliest that both have."""
    router_flips: float | None
    """Share of tokens with other experts in the layer where that is largest."""
    layer_cosine: float | None
    """Mean cosine of both residual streams after the layer where that is least."""
    layers: list[LayerJson]
    """Distance of the streams after each layer."""
    weights: WeightsJson
    """Comparison of its weights with the source's."""
    beyond: bool
    """True where it is beyond a limit, or its config or a weight is another."""


class NetworkRunJson(NetworkJson):
    """Run of one network or two."""

    # described in annotations, which evaluations inherit, unlike texts below the keys
    source: Annotated[str, Field(description="The checkpoint")]
    against: Annotated[str | None, Field(description="The other; null for none, or several")]
    input: Annotated[str, Field(description="File of the text or the tokens")]
    precision: Literal["f32", "bf16"]
    tokens: Annotated[Positive, Field(description="Tokens that went through the network")]
    read_bytes: Annotated[Count, Field(description="Bytes of weights that were read")]
    seconds: Seconds
    tokens_per_s: Annotated[Amount, Field(description="Tokens by wall time")]


class EvaluationJson(NetworkRunJson):
    """Outputs of a network, or its distance from another."""

    loss: LossJson
    """Of the source."""
    other_loss: NotRequired[LossJson]
    """Of the other."""
    layers: list[LayerJson]
    """Of one network: what flowed through each layer. Of two: relative errors. Of more: none."""
    candidates: NotRequired[list[CandidateJson]]
    """Where there are several, each held against the source."""
    nbytes: NotRequired[Count]
    """Then: bytes of the source's files."""
    bits: NotRequired[Amount]
    """Then: bits of the source's files for each parameter."""
    losses: NotRequired[list[float | None]]
    """Of the first 4,096 tokens, in nats; null where there was nothing to predict."""
    kl: NotRequired[DivergenceJson]
    top1: NotRequired[float]
    """Share of tokens whose likeliest successor is the same."""
    top8: NotRequired[float]
    """Share of the eight likeliest that both have."""
    embedding: NotRequired[float | None]
    """Relative error of the embedded tokens."""
    head: NotRequired[float | None]
    """Relative error of the logits on the same input."""
    parts: NotRequired[list[PartErrorJson]]
    """The parts of the network in the order of the computation, with their limits."""
    weights: NotRequired[WeightsJson]
    suspects: NotRequired[list[SuspectJson]]
    """Parts that err by more than their limit, in the order of the computation."""
    max_kl: NotRequired[float | None]
    """`--max-kl`."""
    min_top1: NotRequired[float | None]
    """`--min-top1`."""
    max_router_flips: NotRequired[float | None]
    """`--max-router-flips`."""
    min_layer_cosine: NotRequired[float | None]
    """`--min-layer-cosine`."""
    logits: NotRequired[str | None]
    """File of all logits, or null."""
    calibration: NotRequired[str | None]
    """File of the calibration, or null."""


EvaluationAnswer: TypeAlias = AnswerJson[EvaluationStatus, EvaluationJson]
