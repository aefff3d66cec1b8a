"""Synthetic releases of Grok-2: the layout of the real one, at any size."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.summary import document
from grokpack.cli.app import app
from grokpack.conversion.plan_synth import plan_synth, preset
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import ArraySlice, whole_box
from grokpack.execution.run import execute
from grokpack.formats.tokenizers import tok_json
from grokpack.models.grok2 import GROK2
from grokpack.verification.verify_structure import verify_structure
from tests.support.grok2 import RELEASE

if TYPE_CHECKING:
    from pathlib import Path

    from grokpack.models.architecture import NetworkPart

TINY = preset("grok-2", "tiny")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "tiny"
    execute(plan_synth(TINY, 3, model="grok-2"), str(out))
    return out


def test_it_has_the_files_and_keys_of_the_release(tiny: Path) -> None:
    assert {path.name for path in tiny.iterdir()} - {"grokpack.json"} == {
        path.name for path in RELEASE.iterdir()
    }
    said = json.loads((tiny / "config.json").read_text())
    assert list(said) == list(json.loads((RELEASE / "config.json").read_text()))
    assert said == {
        **GROK2.config,
        "embedding_multiplier_scale": 128**0.5,
        "vocab_size": 1024,
        "hidden_size": 128,
        "intermediate_size": 512,
        "moe_intermediate_size": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "num_hidden_layers": 3,
        "head_dim": 16,
    }
    assert verify_structure(survey(str(tiny))).findings == ()


def test_slices_of_ranks_join_to_weights_of_a_trained_magnitude(tiny: Path) -> None:
    source = open_checkpoint(str(tiny))
    assert source.geometry == TINY
    reader = ArrayReader(source)
    inputs_of: dict[NetworkPart, int] = {"expert_down": 256, "expert_gate": 128, "query": 128}
    for part, inputs in inputs_of.items():
        name = source.model.tensor(part, 0).name
        bits = reader.read(name, whole_box(source.tensors[name].values.shape))
        values = (bits.astype(np.uint32) << 16).view(np.float32)
        assert values.std() == pytest.approx(inputs**-0.5, rel=0.05)
        assert len(np.unique(values[..., :8])) > 100  # no slice repeats another


def test_its_tokenizer_covers_the_vocabulary(tiny: Path) -> None:
    table = tok_json.read((tiny / "tokenizer.tok.json").read_bytes(), "it")
    assert sorted(table.by_id()) == list(range(1024))
    assert [table.special[f"<|{name}|>"] for name in ("pad", "separator", "eos")] == [0, 1, 2]
    assert all(
        len(t) == 1 or t[:-1] in table.regular or t[1:] in table.regular for t in table.regular
    )


def test_the_whole_geometry_has_the_bytes_of_the_release() -> None:
    plan = plan_synth(GROK2.release, sparse=True, model="grok-2")
    files = list(plan.target.layout.files())
    slices = [
        segment for file in files for segment in file.segments if isinstance(segment, ArraySlice)
    ]
    assert len(files) == 39
    assert len(slices) == 13_059
    assert sum(one.nbytes for one in slices) == 539_030_994_944


def test_a_sparse_release_takes_no_disk(tmp_path: Path) -> None:
    wide = replace(GROK2.release, layers=1)
    execute(plan_synth(wide, sparse=True, model="grok-2"), str(tmp_path))
    found = document(survey(str(tmp_path)))
    assert found["files"] == {"expected": 39, "bad": 0}
    assert found["bytes"] > 12_000_000_000
    assert found["widths"] == [1, 2, 4, 8, 16, 32, 64]
    assert sum(path.stat().st_blocks for path in tmp_path.iterdir()) * 512 < 20_000_000


@pytest.mark.parametrize(
    ("changed", "model"),
    [
        ({"mlp": None}, "grok-2"),
        ({"scale_groups": 8}, "grok-2"),
        ({"ffn": 100}, "grok-2"),
        ({"mlp": 0}, "grok-2"),
        ({"scale_groups": 8}, "grok-1"),
    ],
)
def test_dimensions_that_a_model_cannot_have_are_refused(
    changed: dict[str, int | None], model: str
) -> None:
    with pytest.raises(GrokpackError) as caught:
        plan_synth(replace(TINY, **changed), model=model)  # type: ignore[arg-type]
    assert caught.value.code == "GP305"


@pytest.mark.parametrize(("model", "name"), [("grok-2", "grok-1"), ("grok-9", "tiny")])
def test_a_preset_that_there_is_not_is_refused(model: str, name: str) -> None:
    with pytest.raises(GrokpackError, match="takes") as caught:
        preset(model, name)
    assert caught.value.code == "GP346"


def test_the_name_of_a_release_is_enough(tmp_path: Path) -> None:
    words = [
        "synth",
        str(tmp_path / "out"),
        "--preset",
        "grok-2",
        "--sparse",
        "--dry-run",
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    assert json.loads(done.stdout)["data"]["parameters"]["layers"] == GROK2.release.layers
    done = CliRunner().invoke(app, ["synth", "x", "--model", "grok-2", "--preset", "grok-1"])
    assert "leave out `--model`" in done.stderr
