"""Run of `grokpack evaluate`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli import evaluation_results, parsing
from grokpack.cli.source_path import resolve
from grokpack.cli.workers import own_memory
from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.evaluation import config_comparison, network_verdict
from grokpack.evaluation.calibration import Calibration
from grokpack.evaluation.candidate_evaluation import evaluate_candidates
from grokpack.evaluation.evaluation_options import EvaluateOptions, cost
from grokpack.evaluation.input_tokens import CONTEXT, Inputs, read_text, read_tokens
from grokpack.evaluation.logits_file import logits_file
from grokpack.evaluation.network_verdict import Thresholds
from grokpack.evaluation.pair_evaluation import STREAMS, evaluate_pair
from grokpack.evaluation.single_evaluation import evaluate
from grokpack.models import hyperparameters
from grokpack.report.text import evaluation_text as shown

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.cli.network_options import EvaluateFlags, NetworkFlags
    from grokpack.cli.session import Session
    from grokpack.core.documents.answer_json import NetworkJson
    from grokpack.core.documents.evaluation_json import EvaluationJson
    from grokpack.core.finding import Finding


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
        own_memory(parsing.parse_bytes("--memory", network.memory), session),
        session.stoppable(),
        network.gelu,
    )


def introduce(session: Session, checkpoint: Checkpoint, options: EvaluateOptions) -> NetworkJson:
    """Say which network runs, and where not as its config says; return the first as JSON values."""
    family = checkpoint.model.family
    gelu = options.gelu_of(family)
    session.say(f"network of {family.title}, GELU by {gelu}")
    notes = (
        *hyperparameters.lacking(checkpoint.config, checkpoint.model),
        *hyperparameters.disagreeing(checkpoint.config, family),
        *config_comparison.ignored_switches(checkpoint),
    )
    for note in notes:
        session.say(note)
    return {"family": checkpoint.model.title, "gelu": gelu}


def run(session: Session, flags: EvaluateFlags, network: NetworkFlags) -> None:
    """Evaluate, and show the result."""
    source = resolve(flags.source, session)
    others = [resolve(path, session) for path in flags.against or ()]
    options = options_of(session, network, flags.layers)
    wanted = replace(flags, source=source, against=others)
    _check(wanted)
    checkpoint = open_checkpoint(source, wanted.head_dim)
    inputs = _inputs(wanted, checkpoint)
    _Evaluation(session, wanted, options, checkpoint, inputs).run()


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """An evaluation that nothing speaks against: its checkpoint, tokens and options."""

    session: Session
    wanted: EvaluateFlags
    options: EvaluateOptions
    source: Checkpoint
    inputs: Inputs

    def run(self) -> None:
        about = introduce(self.session, self.source, self.options)
        paths = self.wanted.against or []
        others = [open_checkpoint(path, self.wanted.head_dim) for path in paths]
        if not others:
            self._run_alone(about)
        elif len(others) == 1:
            self._run_pair(about, others[0])
        else:
            self._run_candidates(about, others)

    def _run_alone(self, about: NetworkJson) -> None:
        """Evaluate one network, and write what was asked for beside the result."""
        logits, calibrate = self.wanted.logits, self.wanted.calibrate
        with ExitStack() as held:
            keep = watch = calibration = None
            if logits is not None:
                tokens, vocab = self.inputs.batch.size, self.source.geometry.vocab
                keep = held.enter_context(logits_file(logits, tokens, vocab))
            if calibrate is not None:
                calibration = Calibration(self.source, calibrate)
                watch = calibration.watch
            self._announce([self.source])
            found = evaluate(self.source, self.inputs, self.options, keep, watch)
            if calibration is not None:
                calibration.write(self.inputs, str(self.wanted.text or self.wanted.tokens))
        data = evaluation_results.document(about, found, self.wanted, self.options)
        seen = network_verdict.findings_of_loss(found.loss)
        self._answer(data, shown.render(data, seen), seen, "beyond" if seen else "ok")

    def _run_pair(self, about: NetworkJson, other: Checkpoint) -> None:
        """Hold one network against the source, part by part."""
        self._announce([self.source, other], STREAMS, whole=True)
        pair = evaluate_pair(self.source, other, self.inputs, self.options)
        data = evaluation_results.pair_document(about, pair, self.wanted, self.options)
        seen = network_verdict.findings(pair, self._limits())
        word = _verdict(seen)
        self._answer(data, shown.render_pair(data, seen, word), seen, word)

    def _run_candidates(self, about: NetworkJson, others: list[Checkpoint]) -> None:
        """Hold several networks against the source, by their weights and what they compute."""
        self._announce([self.source, *others], 1 + len(others), whole=True)
        found = evaluate_candidates(self.source, others, self.inputs, self.options)
        limits = self._limits()
        seen = [network_verdict.findings_of_candidate(own, limits) for own in found.candidates]
        beyond = [_verdict(rows) == "beyond" for rows in seen]
        given = about, found, beyond, self.wanted, self.options
        data = evaluation_results.candidates_document(*given)
        every = [row for rows in seen for row in rows]
        word = _verdict(every) if limits.given or any(beyond) else "ok"
        self._answer(data, shown.render_candidates(data, every, word), every, word)

    def _announce(
        self, checkpoints: list[Checkpoint], streams: int = 1, *, whole: bool = False
    ) -> None:
        """Say what the run will cost before it begins."""
        tokens = self.inputs.batch.size
        costs = [cost(one, tokens, self.options, streams, whole=whole) for one in checkpoints]
        read = byte_size(sum(one.read_bytes for one in costs))
        flops = sum(one.flops for one in costs) / 1e12
        self.session.say(f"{counted(tokens, 'token')}: reads {read} of weights, {flops:,.3g} TFLOP")
        spilled = max(one.spilled_bytes for one in costs)
        if spilled:
            size = byte_size(spilled)
            self.session.say(f"activations of {size} go to disk; --memory holds more")

    def _limits(self) -> Thresholds:
        """Return the limits that were given."""
        wanted = self.wanted
        return Thresholds(
            wanted.max_kl, wanted.min_top1, wanted.max_router_flips, wanted.min_layer_cosine
        )

    def _answer(self, data: EvaluationJson, text: str, seen: list[Finding], word: str) -> None:
        """Show the distance from the source, and leave with the status that it gives."""
        status = ExitStatus.ANSWER_IS_NO if word == "beyond" else ExitStatus.OK
        self.session.result(text, data, status, [row.row() for row in seen], word)


def _verdict(seen: list[Finding]) -> Literal["within", "beyond"]:
    """Return the verdict that findings give."""
    return "beyond" if any(row.severity == "error" for row in seen) else "within"


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
        if value is not None and not wanted.against:
            raise GrokpackError("GP304", f"{option} compares two networks", hint="add --against")
    for option, path in {"--logits": wanted.logits, "--calibrate": wanted.calibrate}.items():
        if path is not None and wanted.against:
            raise GrokpackError("GP304", f"{option} is about one network", hint="leave --against")


def _inputs(wanted: EvaluateFlags, checkpoint: Checkpoint) -> Inputs:
    if wanted.text is not None:
        context = wanted.context or CONTEXT
        return read_text(wanted.text, checkpoint, wanted.tokenizer, context, wanted.max_tokens)
    pad = hyperparameters.masked_token(checkpoint.config, checkpoint.model)
    assert wanted.tokens is not None  # noqa: S101  # one of both was given
    return read_tokens(wanted.tokens, wanted.context, wanted.max_tokens, pad)
