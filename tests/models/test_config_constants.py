"""Constants of a config.json: spelled in any way, carried over, and refused if none can have them.

Outputs of Grok-2 keep the keys of their source.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import plan_convert
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import PRESETS, plan_synth
from grokpack.core.errors import GrokpackError, UnusableValue
from grokpack.core.finding import Finding, only_errors
from grokpack.evaluation import config_comparison
from grokpack.execution.run import execute
from grokpack.models import hyperparameters
from tests.support.grok2 import RELEASE

Edited = Callable[..., Path]


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    """Copy the release with other entries in its config; None leaves an entry out."""

    def edit(**entries: Any) -> Path:
        folder = shutil.copytree(RELEASE, tmp_path / "source")
        path = folder / "config.json"
        config = json.loads(path.read_text()) | entries
        path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        return folder

    return edit


def findings(folder: Path) -> list[Finding]:
    return [one for one in survey(folder).findings if one.file == "config.json"]


@pytest.mark.parametrize("to", ["hf", "sglang"])
def test_a_constant_under_another_key_is_not_joined_by_the_releases(
    edited: Edited, tmp_path: Path, to: str
) -> None:
    """Programs that read the key that was added computed another network."""
    nested = {"rope_theta": 77_777.0, "rope_type": "default"}
    source = open_checkpoint(edited(rope_theta=None, rope_type=None, rope_parameters=nested))
    plan = plan_convert(source, "hf") if to == "hf" else plan_reshard(source, 4, to)
    execute(plan, str(tmp_path / "out"))
    made = open_checkpoint(tmp_path / "out")
    assert made.config["rope_theta"] == 77_777.0
    assert made.config["rope_parameters"] == nested
    assert hyperparameters.read(made.config, made.model).rope_theta == 77_777.0
    assert not hyperparameters.disagreeing(made.config, made.model.family)


def test_a_constant_that_two_keys_give_differently_is_told(edited: Edited) -> None:
    nested = {"rope_theta": 10_000.0, "rope_type": "default"}
    (found,) = findings(edited(rope_parameters=nested))
    assert (found.code, found.severity) == ("GP130", "warning")
    assert "rope_parameters.rope_theta 10000" in found.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_temperature_len", 16.5),
        ("attn_temperature_len", -2),
        ("rope_theta", 0),
        ("rope_theta", -5.0),
        ("rms_norm_eps", -1e-5),
        ("embedding_multiplier_scale", 0),
        ("router_logit_softcapping", -30),
        ("final_logit_softcapping", -1.0),
    ],
)
def test_what_no_network_can_have_is_an_error(edited: Edited, key: str, value: float) -> None:
    """16.5 was cut to 16; a base of zero made every logit a NaN, and nothing was said."""
    (found,) = only_errors(findings(edited(**{key: value})))
    assert (found.code, found.file) == ("GP130", "config.json")
    assert key in found.message


@pytest.mark.parametrize(
    "entries",
    [
        {"attn_temperature_len": 16.0},
        {"attn_temperature_len": -1},
        {"attn_temperature_len": 0},
        {"rms_norm_eps": 0},
        {"router_logit_softcapping": 0},
        {"rope_parameters": {"rope_type": "default"}},
        {"rope_scaling": {"type": "default"}},
    ],
)
def test_what_switches_a_part_off_is_none(edited: Edited, entries: dict[str, Any]) -> None:
    assert not findings(edited(**entries))


@pytest.mark.parametrize(
    "entries",
    [
        {"rope_parameters": {"rope_type": "yarn", "factor": 16.0}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
    ],
)
def test_a_rotation_that_is_scaled_is_another_network(
    edited: Edited, entries: dict[str, Any]
) -> None:
    folder = edited(**entries)
    (found,) = findings(folder)
    assert (found.code, found.severity) == ("GP133", "warning")
    with pytest.raises(GrokpackError) as caught:
        config_comparison.refuse_other_network(open_checkpoint(folder))
    assert caught.value.code == "GP345"
    assert not config_comparison.ignored_switches(open_checkpoint(folder))


def test_numbers_of_heads_tell_their_size(edited: Edited) -> None:
    folder = edited(head_dim=None)
    config = json.loads((folder / "config.json").read_text())
    geometry = open_checkpoint(folder).geometry
    assert geometry.q_heads == config["num_attention_heads"]
    assert geometry.kv_heads == config["num_key_value_heads"]


def test_a_given_size_that_the_numbers_of_heads_contradict_is_refused(edited: Edited) -> None:
    folder = edited(head_dim=None)
    size = open_checkpoint(folder).geometry.head_dim
    with pytest.raises(UnusableValue, match="heads, and the config"):
        open_checkpoint(folder, (size or 0) * 2)


def test_without_any_size_the_familys_own_key_is_named(edited: Edited) -> None:
    source = open_checkpoint(edited(head_dim=None, num_attention_heads=None))
    with pytest.raises(GrokpackError) as caught:
        plan_convert(source, "hf")
    assert caught.value.code == "GP211"
    assert "`head_dim`" in (caught.value.hint or "")


def test_an_odd_head_size_is_refused_where_it_is_said(edited: Edited) -> None:
    with pytest.raises(GrokpackError, match="odd"):
        plan_synth(replace(PRESETS["tiny"], q_width=24, kv_width=24, head_dim=3))
    alone = {"num_attention_heads": None, "num_key_value_heads": None}
    (found,) = findings(edited(head_dim=1, **alone))
    assert "odd" in found.message
