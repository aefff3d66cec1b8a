"""The network of Grok-2 is the one that others compute from a release of theirs, part by part."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli.app import app
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import plan_synth_model
from grokpack.core.events import Advanced, Event, Started
from grokpack.core.exit_status import ExitStatus
from grokpack.evaluation.evaluation_options import EvaluateOptions, networks
from grokpack.evaluation.input_tokens import Inputs
from grokpack.evaluation.network import forward_pass
from grokpack.evaluation.network.batch import batch
from grokpack.evaluation.network.layer import PassOptions
from grokpack.evaluation.single_evaluation import evaluate
from grokpack.execution.run import execute
from grokpack.models import registry
from grokpack.models.family import Model
from grokpack.models.grok2 import GROK2
from tests.report.test_schemas import answer
from tests.support.checkpoints import GOLDEN as GROK1
from tests.support.grok2 import GOLDEN, RELEASE, prompts
from tests.support.reference_network import change_constants, logits

CLOSE = 2e-3
"""The largest difference of a logit that its README allows; 1.7e-4 is measured."""


def golden(name: str) -> np.ndarray:
    found: np.ndarray = np.load(GOLDEN / f"{name}.npy")
    return found


PROMPTS = prompts()
FIGURES = json.loads((GOLDEN / "figures.json").read_text())
WANTED = golden("logits_f32").reshape(-1, 600)


@dataclass(frozen=True, slots=True)
class Trace:
    """What flows through the network: of each layer the stream in its middle and after it."""

    streams: list[np.ndarray]
    chosen: np.ndarray
    gates: np.ndarray


@pytest.fixture(scope="module")
def trace() -> Trace:
    joined = batch(PROMPTS)
    with networks([open_checkpoint(str(RELEASE))], joined.size, EvaluateOptions()) as (network,):
        h = network.embed(joined)
        streams, routings = [h.copy()], []
        options = PassOptions(between=lambda stream: streams.append(stream.copy()))
        for number in range(len(network.layers)):
            routings.append(network.step(number, h, joined, options))
            streams.append(h.copy())
    chosen, gates = (
        np.stack([getattr(routing, name) for routing in routings]).reshape(3, 4, 48, 2)
        for name in ("chosen", "gates")
    )
    return Trace(streams, chosen.swapaxes(0, 1), gates.swapaxes(0, 1))


def test_logits_are_those_of_the_release() -> None:
    found = logits(RELEASE, PROMPTS)
    np.testing.assert_allclose(found, WANTED, rtol=0, atol=CLOSE / 4)


def test_every_token_goes_to_the_same_experts(trace: Trace) -> None:
    np.testing.assert_array_equal(trace.chosen, golden("experts"))
    np.testing.assert_allclose(trace.gates, golden("gates"), rtol=0, atol=1e-5)


def test_each_half_of_each_layer_adds_the_same(trace: Trace) -> None:
    wanted = np.load(GOLDEN / "stream.npz")
    found = np.stack([stream[wanted["places"]] for stream in trace.streams])
    scale = np.abs(wanted["stream"]).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found / scale, wanted["stream"] / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("constant", "wrong"),
    [
        ("embedding_multiplier", 1.0),
        ("output_multiplier", 1.0),
        ("attn_output_multiplier", 0.1),
        ("attn_logit_cap", 50.0),
        ("router_logit_cap", 20.0),
        ("final_logit_cap", 30.0),
        ("rms_norm_eps", 1e-6),
        ("rope_theta", 1e4),
        ("temperature_context", 17),
        ("selected_experts", 1),
    ],
)
def test_each_constant_of_the_config_counts(
    constant: str, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_constants(monkeypatch, **{constant: wrong})
    assert np.abs(logits(RELEASE, PROMPTS) - WANTED).max() > CLOSE


@pytest.mark.parametrize(
    "changed",
    [{"mix_factor": 1.0}, {"masks_padding": True}],
    ids=["no factor of the mixture", "pad is masked"],
)
def test_each_detail_of_the_architecture_shows(
    changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(GROK2, network=replace(GROK2.network, **changed))
    monkeypatch.setitem(registry.FAMILIES, GROK2.name, other)
    assert np.abs(logits(RELEASE, PROMPTS) - WANTED).max() > CLOSE


def test_the_head_is_not_the_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_pass, "HEAD", "embedding")
    assert np.abs(logits(RELEASE, PROMPTS) - WANTED).max() > CLOSE


@pytest.mark.parametrize(
    ("gelu", "changed"), [("erf", 0.0), ("tanh", FIGURES["mistakes"]["both GELUs by tanh"][0])]
)
def test_gelu_is_computed_in_the_form_that_is_asked_for(gelu: str, changed: float) -> None:
    """The family's own by default, which is by erf."""
    found = np.abs(logits(RELEASE, PROMPTS, gelu=gelu) - WANTED).max()
    assert abs(found - changed) < CLOSE


@pytest.mark.parametrize(
    ("source", "options", "family", "gelu"),
    [
        (RELEASE, [], "grok-2 architecture", "erf"),
        (RELEASE, ["--gelu", "tanh"], "grok-2 architecture", "tanh"),
        (GROK1, [], "grok-1 architecture", "tanh"),
        (GROK1, ["--gelu", "erf"], "grok-1 architecture", "erf"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "generate"])
def test_a_run_says_which_network_and_which_gelu(
    command: str, source: Path, options: list[str], family: str, gelu: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "ids.npy", np.array([7, 9]))
    more = [] if command == "evaluate" else ["--max-new-tokens", "1"]
    data = answer(command, source, "--tokens", tmp_path / "ids.npy", *more, *options)["data"]
    assert (data["family"], data["gelu"]) == (family, gelu)


def test_no_token_is_padding_and_shorter_rows_are_filled_up(tmp_path: Path) -> None:
    """Rows may end in 0, which is a token like others; -1 is none."""
    np.save(tmp_path / "ids.npy", np.array([[7, 0, 9, 0], [5, -1, -1, -1]]))
    found = tmp_path / "logits.npy"
    answer("evaluate", RELEASE, "--tokens", tmp_path / "ids.npy", "--logits", found)
    wanted = logits(RELEASE, [np.array([7, 0, 9, 0]), np.array([5])])
    np.testing.assert_array_equal(np.load(found), wanted)


def test_progress_counts_bytes_as_they_are_stored() -> None:
    """Of weights in bfloat16 as well, which are widened while they are multiplied."""
    seen: list[Event] = []
    nothing = np.full(sum(map(len, PROMPTS)), -1)
    options = EvaluateOptions(listen=seen.append)
    evaluate(open_checkpoint(str(RELEASE)), Inputs(tuple(PROMPTS), nothing), options)
    (total,) = (event.total_bytes for event in seen if isinstance(event, Started))
    done = sum(event.nbytes for event in seen if isinstance(event, Advanced))
    assert 0.95 * total < done <= total


def test_a_constant_that_a_config_leaves_to_the_release_is_told(tmp_path: Path) -> None:
    """As is a setting that changes nothing here."""
    told = evaluated(tmp_path, scaling_factor=8.0, attn_temperature_len=None)
    assert told.exit_code == 0
    assert "network of Grok-2, GELU by erf" in told.stderr
    assert "no attn_temperature_len: the release's 1024 is taken" in told.stderr
    assert "has scaling_factor 8.0: the network runs with the release's 16.0" in told.stderr
    assert told.stderr.count("config.json of the source") == 2


@pytest.mark.parametrize(
    ("key", "asked"), [("rope_type", "yarn"), ("residual_moe", False), ("sliding_window_size", 512)]
)
def test_a_config_that_asks_for_another_network_is_refused(
    tmp_path: Path, key: str, asked: object
) -> None:
    told = evaluated(tmp_path, **{key: asked})
    assert told.exit_code == ExitStatus.USAGE
    assert "GP345" in told.stderr
    assert f"{key} is {asked!r} in config.json" in told.stderr


def evaluated(tmp_path: Path, **changes: object) -> Result:
    """`evaluate` of a release whose config has other entries; those that are None are left out."""
    folder = Path(shutil.copytree(RELEASE, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text()) | changes
    stated = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(stated))
    np.save(tmp_path / "ids.npy", np.array([7, 9]))
    return CliRunner().invoke(app, ["evaluate", str(folder), "--tokens", str(tmp_path / "ids.npy")])


def test_any_width_computes_the_same(tmp_path: Path) -> None:
    """Also twice as wide as the release, with two ranks for each key head."""
    sized = replace(
        GROK2.release, vocab=64, d_model=64, layers=1, ffn=64, mlp=128,
        q_width=256, kv_width=128, head_dim=16,
    )  # fmt: skip
    execute(plan_synth_model(Model(GROK2, sized), 3), str(tmp_path / "8"))
    source, tokens = open_checkpoint(str(tmp_path / "8")), [np.arange(20)]
    wanted = logits(tmp_path / "8", tokens)
    for width in (2, 16):
        execute(plan_reshard(source, width), str(tmp_path / f"{width}"))
        np.testing.assert_array_equal(logits(tmp_path / f"{width}", tokens), wanted)
