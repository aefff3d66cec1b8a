"""Run of `grokpack evaluate`, and its results as JSON."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli import parsing
from grokpack.cli.source_path import resolve
from grokpack.core.byte_size import byte_size
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.evaluation import config_comparison, network_verdict
from grokpack.evaluation.calibration import Calibration
from grokpack.evaluation.evaluation_options import EvaluateOptions, cost
from grokpack.evaluation.input_tokens import CONTEXT, Inputs, read_text, read_tokens
from grokpack.evaluation.logits_file import logits_file
from grokpack.evaluation.pair_evaluation import STREAMS, evaluate_pair
from grokpack.evaluation.single_evaluation import evaluate
from grokpack.evaluation.weight_comparison import BEYOND, EQUAL, OTHERWISE, WITHIN
from grokpack.models import hyperparameters
from grokpack.report import evaluation_text as shown
from grokpack.report.numbers import finite

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.cli.network_options import EvaluateFlags, NetworkFlags
    from grokpack.cli.session import Session
    from grokpack.core.documents.answer_json import NetworkJson
    from grokpack.core.documents.evaluation_json import (
        EvaluationJson,
        LayerJson,
        LossJson,
        NetworkRunJson,
        PartErrorJson,
        UnequalJson,
        WeightsJson,
    )
    from grokpack.evaluation.pair_evaluation import PairEvaluation
    from grokpack.evaluation.part_comparison import PartComparison
    from grokpack.evaluation.results import Evaluation, Loss
    from grokpack.evaluation.weight_comparison import WeightGap

_RATIOS = ("relative", "allowed", "largest")
_MOST_LOSSES = 4096  # tokens whose losses the document lists


def options_of(
    session: Session, network: NetworkFlags, layers: int | None = None
) -> EvaluateOptions:
    """Convert the options as given to those of the library.

    Raises:
        GrokpackError: GP346 for invalid values.
    """
    return EvaluateOptions(
        network.precision,
        layers,
        parsing.parse_workers(network.workers),
        parsing.parse_bytes("--memory", network.memory),
        session.stoppable(),
        network.gelu,
    )


def introduce(session: Session, checkpoint: Checkpoint, options: EvaluateOptions) -> NetworkJson:
    """Say which network runs, and where not as its config says; return the first as JSON values."""
    family = checkpoint.model.family
    gelu = options.gelu_of(family)
    session.say(f"network of {family.title}, GELU by {gelu}")
    lacking = hyperparameters.lacking(checkpoint.config, checkpoint.model)
    for note in (*lacking, *config_comparison.unheeded(checkpoint)):
        session.say(note)
    return {"family": checkpoint.model.title, "gelu": gelu}


def run(session: Session, flags: EvaluateFlags, network: NetworkFlags) -> None:
    """Evaluate, and show the result."""
    source = resolve(flags.source, session)
    against = None if flags.against is None else resolve(flags.against, session)
    options = options_of(session, network, flags.layers)
    wanted = replace(flags, source=source, against=against)
    _check(wanted)
    checkpoint = open_checkpoint(source, wanted.head_dim)
    inputs = _inputs(wanted, checkpoint)
    about = introduce(session, checkpoint, options)
    if against is None:
        found = _alone(session, wanted, options, checkpoint, inputs)
        alone = document(about, found, wanted, options)
        session.result(shown.render(alone), alone)
        return
    other = open_checkpoint(against, wanted.head_dim)
    _announce(session, [checkpoint, other], inputs, options, STREAMS)
    pair = evaluate_pair(checkpoint, other, inputs, options)
    limits = network_verdict.Thresholds(
        wanted.max_kl, wanted.min_top1, wanted.max_router_flips, wanted.min_layer_cosine
    )
    seen = network_verdict.findings(pair, limits)
    data = pair_document(about, pair, wanted, options)
    beyond = any(row.severity == "error" for row in seen)
    status = ExitStatus.ANSWER_IS_NO if beyond else ExitStatus.OK
    rows = [row.row() for row in seen]
    word = "beyond" if beyond else "within"
    session.result(shown.render_pair(data, seen, word), data, status, rows, word)


def _check(wanted: EvaluateFlags) -> None:
    """Refuse options that contradict each other.

    Raises:
        GrokpackError: GP304.
    """
    if (wanted.text is None) == (wanted.tokens is None):
        what = "give either --text or --tokens" if wanted.text else "there is nothing to run on"
        raise GrokpackError("GP304", what, hint="`--text FILE`, or `--tokens FILE.npy`")
    limits = {
        "--max-kl": wanted.max_kl,
        "--min-top1": wanted.min_top1,
        "--max-router-flips": wanted.max_router_flips,
        "--min-layer-cosine": wanted.min_layer_cosine,
    }
    for option, value in limits.items():
        if value is not None and wanted.against is None:
            raise GrokpackError("GP304", f"{option} compares two networks", hint="add --against")
    for option, path in {"--logits": wanted.logits, "--calibrate": wanted.calibrate}.items():
        if path is not None and wanted.against is not None:
            raise GrokpackError("GP304", f"{option} is about one network", hint="leave --against")


def _inputs(wanted: EvaluateFlags, checkpoint: Checkpoint) -> Inputs:
    if wanted.text is not None:
        context = wanted.context or CONTEXT
        return read_text(wanted.text, checkpoint, wanted.tokenizer, context, wanted.max_tokens)
    pad = hyperparameters.masked_token(checkpoint.config, checkpoint.model)
    assert wanted.tokens is not None  # noqa: S101  # one of both was given
    return read_tokens(wanted.tokens, wanted.context, wanted.max_tokens, pad)


def _announce(
    session: Session,
    checkpoints: list[Checkpoint],
    inputs: Inputs,
    options: EvaluateOptions,
    streams: int = 1,
) -> None:
    """Say what the run will cost before it begins."""
    tokens = inputs.batch.size
    costs = [cost(checkpoint, tokens, options, streams) for checkpoint in checkpoints]
    read = byte_size(sum(one.read_bytes for one in costs))
    flops = sum(one.flops for one in costs) / 1e12
    session.say(f"{tokens:,} tokens: reads {read} of weights, {flops:,.3g} TFLOP")
    spilled = max(one.spilled_bytes for one in costs)
    if spilled:
        session.say(f"activations of {byte_size(spilled)} go to disk; --memory holds more")


def _alone(
    session: Session,
    wanted: EvaluateFlags,
    options: EvaluateOptions,
    checkpoint: Checkpoint,
    inputs: Inputs,
) -> Evaluation:
    """Evaluate one network, and write what was asked for beside the result."""
    tokens = inputs.batch.size
    with ExitStack() as held:
        keep = watch = None
        if wanted.logits is not None:
            vocab = checkpoint.geometry.vocab
            keep = held.enter_context(logits_file(wanted.logits, tokens, vocab))
        calibration = None
        if wanted.calibrate is not None:
            calibration = Calibration(checkpoint, wanted.calibrate)
            watch = calibration.watch
        _announce(session, [checkpoint], inputs, options)
        found = evaluate(checkpoint, inputs, options, keep, watch)
        if calibration is not None:
            calibration.write(inputs)
    return found


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
    data["kl"] = {
        "mean": finite(found.kl_mean),
        "p99": finite(found.kl_p99),
        "largest": finite(float(np.max(found.kl))),
    }
    data["top1"], data["top8"] = found.top1, found.top8
    data["embedding"], data["head"] = finite(found.embedding), finite(found.head)
    data["layers"] = [
        cast("LayerJson", {key: finite(value) for key, value in asdict(row).items()})
        for row in found.layers
    ]
    data["parts"] = [_part(part) for part in found.parts]
    suspects = network_verdict.suspects(found)
    data["suspects"] = [{**_part(part), "typical": None} for part in suspects]
    data["weights"] = _weights(found)
    data["max_kl"], data["min_top1"] = wanted.max_kl, wanted.min_top1
    data["max_router_flips"] = wanted.max_router_flips
    data["min_layer_cosine"] = wanted.min_layer_cosine
    return data


def _part(part: PartComparison) -> PartErrorJson:
    """Return a part of the network with its limit, as JSON values."""
    return {
        "part": part.name,
        "layer": part.layer,
        "error": finite(part.error),
        "limit": finite(part.limit),
    }


def _weights(found: PairEvaluation) -> WeightsJson:
    """Count the weights in each state, and list those that are not equal."""
    rows = [row for part in found.parts for row in part.weights]
    states = Counter(row.state for row in rows)
    return {
        "equal": states[EQUAL],
        "within": states[WITHIN],
        "otherwise": states[OTHERWISE],
        "beyond": states[BEYOND],
        "unequal": [_unequal(row) for row in rows if row.state != EQUAL],
    }


def _unequal(row: WeightGap) -> UnequalJson:
    """A weight that is not equal; its name tells the part of the network."""
    found = asdict(row) | {key: finite(getattr(row, key)) for key in _RATIOS}
    del found["part"]
    return cast("UnequalJson", found)


def _begun(
    about: NetworkJson,
    found: Evaluation | PairEvaluation,
    wanted: EvaluateFlags,
    options: EvaluateOptions,
) -> EvaluationJson:
    """Begin a document with what it says of the run."""
    run: NetworkRunJson = {
        **about,
        "source": str(wanted.source),
        "against": wanted.against,
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
