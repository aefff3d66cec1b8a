"""Results of `grokpack evaluate` as JSON values."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import numpy as np

from grokpack.evaluation import network_verdict
from grokpack.evaluation.weight_comparison import BEYOND, EQUAL, OTHERWISE, WITHIN
from grokpack.report.text.numbers import finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.cli.network_options import EvaluateFlags
    from grokpack.core.documents.answer_json import NetworkJson
    from grokpack.core.documents.evaluation_json import (
        CandidateJson,
        DivergenceJson,
        EvaluationJson,
        LayerJson,
        LossJson,
        NetworkRunJson,
        PartErrorJson,
        UnequalJson,
        WeightsJson,
    )
    from grokpack.evaluation.candidate_evaluation import (
        CandidateDistance,
        CandidateLayerDistance,
        CandidatesEvaluation,
    )
    from grokpack.evaluation.evaluation_options import EvaluateOptions
    from grokpack.evaluation.network_distance import NetworkDistance
    from grokpack.evaluation.pair_evaluation import PairEvaluation, PairLayerDistance
    from grokpack.evaluation.part_comparison import PartComparison
    from grokpack.evaluation.results import Evaluation, Loss
    from grokpack.evaluation.weight_comparison import WeightDistance

_RATIOS = ("relative", "allowed", "largest")
_MOST_LOSSES = 4096  # tokens whose losses the document lists


def document(
    about: NetworkJson, found: Evaluation, wanted: EvaluateFlags, options: EvaluateOptions
) -> EvaluationJson:
    """Make `data` of `grokpack evaluate --json` for one network."""
    data = _begun(about, found, wanted, options)
    data["loss"] = _loss(found.loss)
    data["layers"] = [cast("LayerJson", asdict(row)) for row in found.layers]
    data["losses"] = [finite(float(loss)) for loss in found.losses[:_MOST_LOSSES]]
    data["logits"] = wanted.logits
    data["calibration"] = wanted.calibrate
    return data


def pair_document(
    about: NetworkJson, found: PairEvaluation, wanted: EvaluateFlags, options: EvaluateOptions
) -> EvaluationJson:
    """Make `data` of `grokpack evaluate --against --json`."""
    data = _begun(about, found, wanted, options)
    data["loss"] = _loss(found.first)
    data["other_loss"] = _loss(found.second)
    data["kl"] = _divergence(found)
    data["top1"], data["top8"] = found.top1, found.top8
    data["embedding"], data["head"] = finite(found.embedding), finite(found.head)
    data["layers"] = [_layer(row) for row in found.layers]
    data["parts"] = [_part(part) for part in found.parts]
    suspects = network_verdict.suspects(found)
    data["suspects"] = [{**_part(part), "typical": None} for part in suspects]
    data["weights"] = _weights([row for part in found.parts for row in part.weights])
    _add_limits(data, wanted)
    return data


def candidates_document(
    about: NetworkJson,
    found: CandidatesEvaluation,
    beyond: Sequence[bool],
    wanted: EvaluateFlags,
    options: EvaluateOptions,
) -> EvaluationJson:
    """Make `data` of `grokpack evaluate --json` with several `--against`.

    Args:
        about: The network.
        found: Distance of every candidate.
        beyond: True for each candidate that is beyond a limit.
        wanted: Options as given.
        options: Options of the run.
    """
    data = _begun(about, found, wanted, options)
    data["loss"], data["layers"] = _loss(found.loss), []
    data["nbytes"], data["bits"] = found.size.nbytes, found.size.bits
    data["candidates"] = [
        _candidate(candidate, is_beyond)
        for candidate, is_beyond in zip(found.candidates, beyond, strict=True)
    ]
    _add_limits(data, wanted)
    return data


def _candidate(found: CandidateDistance, beyond: bool) -> CandidateJson:
    return {
        "against": found.place,
        "nbytes": found.size.nbytes,
        "bits": found.size.bits,
        "loss": _loss(found.loss),
        "kl": _divergence(found),
        "top1": found.top1,
        "top8": found.top8,
        "router_flips": finite(found.most_flips),
        "layer_cosine": finite(found.least_cosine),
        "layers": [_layer(row) for row in found.layers],
        "weights": _weights(found.weights),
        "beyond": beyond,
    }


def _divergence(found: NetworkDistance) -> DivergenceJson:
    return {
        "mean": finite(found.kl_mean),
        "p99": finite(found.kl_p99),
        "largest": finite(float(np.max(found.kl))),
    }


def _layer(row: PairLayerDistance | CandidateLayerDistance) -> LayerJson:
    return cast("LayerJson", {key: finite(value) for key, value in asdict(row).items()})


def _add_limits(data: EvaluationJson, wanted: EvaluateFlags) -> None:
    data["max_kl"], data["min_top1"] = wanted.max_kl, wanted.min_top1
    data["max_router_flips"] = wanted.max_router_flips
    data["min_layer_cosine"] = wanted.min_layer_cosine


def _part(part: PartComparison) -> PartErrorJson:
    """Return a part of the network with its limit, as JSON values."""
    return {
        "part": part.name,
        "layer": part.layer,
        "error": finite(part.error),
        "limit": finite(part.limit),
    }


def _weights(rows: Sequence[WeightDistance]) -> WeightsJson:
    """Count the weights in each state, and list those that are not equal."""
    states = Counter(row.state for row in rows)
    return {
        "equal": states[EQUAL],
        "within": states[WITHIN],
        "otherwise": states[OTHERWISE],
        "beyond": states[BEYOND],
        "unequal": [_unequal(row) for row in rows if row.state != EQUAL],
    }


def _unequal(row: WeightDistance) -> UnequalJson:
    """A weight that is not equal; its name tells the part of the network."""
    found = asdict(row) | {key: finite(getattr(row, key)) for key in _RATIOS}
    del found["part"]
    return cast("UnequalJson", found)


def _begun(
    about: NetworkJson,
    found: Evaluation | PairEvaluation | CandidatesEvaluation,
    wanted: EvaluateFlags,
    options: EvaluateOptions,
) -> EvaluationJson:
    """Begin a document with what it says of the run."""
    others = wanted.against or []
    run: NetworkRunJson = {
        **about,
        "source": str(wanted.source),
        "against": others[0] if len(others) == 1 else None,
        "input": str(wanted.text or wanted.tokens),
        "precision": options.precision,
        "tokens": found.tokens,
        "read_bytes": found.read_bytes,
        "seconds": round(found.seconds, 3),
        "tokens_per_s": found.tokens / max(found.seconds, 1e-9),
    }
    return cast("EvaluationJson", run)


def _loss(loss: Loss) -> LossJson:
    return {
        "tokens": loss.tokens,
        "mean": finite(loss.mean),
        "error": finite(loss.error),
        "perplexity": finite(loss.perplexity),
        "perplexity_error": finite(loss.perplexity_error),
        "top1": finite(loss.top1),
    }
