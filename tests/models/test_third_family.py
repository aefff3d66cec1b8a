"""A family that grokpack has never heard of: registered as a table, it goes everywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.summary import document
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import plan_synth_model
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import DType
from grokpack.evaluation.input_tokens import read_tokens
from grokpack.evaluation.single_evaluation import evaluate
from grokpack.execution.run import execute
from grokpack.models import registry
from grokpack.models.architecture import PARTS
from grokpack.models.family import Model, ReleaseLayout
from grokpack.verification.compare import compare
from grokpack.verification.verify_structure import verify_structure
from tests.support.third_family import CAPS, FAMILY, NAMES, SMALL

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.planning.plan import Plan


UNSCALED = replace(SMALL, scale_groups=None)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FAMILIES, FAMILY.name, FAMILY)


@pytest.fixture
def source(tmp_path: Path) -> Checkpoint:
    return made(plan_synth_model(Model(FAMILY, SMALL), 7), tmp_path / "source")


def made(plan: Plan, out: Path) -> Checkpoint:
    """Run a plan, and open what it wrote: sound, and of the family."""
    execute(plan, str(out))
    assert verify_structure(survey(str(out))).findings == ()
    checkpoint = open_checkpoint(str(out))
    assert checkpoint.model.family is FAMILY
    assert checkpoint.model.sized(scale_groups=8).geometry == SMALL
    return checkpoint


def states(first: Checkpoint, second: Checkpoint) -> set[str]:
    """What `diff` says of all weights."""
    found = compare(first, second)
    assert len(found.tensors) == len(first.model.tensors())
    return {row.state for row in found.tensors}


def test_its_release_is_synthesized_and_inspected_in_its_own_order(source: Checkpoint) -> None:
    names = list(source.tensors)
    assert names[0] == "net/unembed"
    assert names[3] == "net/block_2/w/attention_output"
    assert names[-1] == "net/block_0/w/value"
    found = document(survey(source.folder))
    assert found["family"] == "third"
    assert found["geometry"]["mlp"] == SMALL.mlp
    parts = {row["part"]: row["tensors"] for row in found["parts"]}
    assert parts["dense MLP"] == 9
    assert parts["output head"] == 1
    assert found["widths"] == [1, 2, 4, 8]


def test_what_is_not_as_its_table_says_is_found(source: Checkpoint) -> None:
    wrong = Path(source.folder) / "tensor00006_000"
    wrong.write_bytes((Path(source.folder) / "tensor00000_000").read_bytes())
    (finding,) = verify_structure(survey(source.folder)).findings[:1]
    assert (finding.code, finding.tensor) == ("GP105", "net/block_2/w/expert_up")


@pytest.mark.parametrize("tp", [2, 4])
def test_it_is_cut_for_ranks_and_joined_again(source: Checkpoint, tmp_path: Path, tp: int) -> None:
    cut = made(plan_reshard(source, tp), tmp_path / "cut")
    assert states(source, cut) == {"equal"}
    back = made(plan_reshard(cut, 8, "ckpt-0"), tmp_path / "back")
    for path in Path(source.folder).iterdir():
        assert (Path(back.folder) / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("to", ["zarr", "orbax", "safetensors", "hf"])
def test_it_is_converted_and_read_back(source: Checkpoint, tmp_path: Path, to: str) -> None:
    options = ConvertOptions(dtype="f32") if to == "hf" else ConvertOptions()
    out = made(plan_convert(source, to, options), tmp_path / "out")
    assert states(source, out) == {"equal"}


@pytest.mark.parametrize("to", ["compressed-tensors", "gptq", "safetensors"])
def test_it_is_quantized_and_the_account_is_of_its_own_roles(
    source: Checkpoint, tmp_path: Path, to: str
) -> None:
    names = None if to == "safetensors" else "third"
    plan = plan_quantize(source, QuantizeOptions(to=to, bits=4, group="32", names=names))
    out = made(plan, tmp_path / "out")
    assert "different" in states(source, out)
    account = json.loads((tmp_path / "out" / "grokpack.json").read_text())["account"]
    assert {*account["roles"]} == {"expert", "attention", "mlp"}


def test_its_own_names_may_be_those_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An array that is transposed on reading then has the name of the one that it is made of."""
    alike = replace(FAMILY, paths=NAMES, layer_prefix="blocks.{layer}.")
    monkeypatch.setitem(registry.FAMILIES, FAMILY.name, alike)
    execute(plan_synth_model(Model(alike, SMALL), 7), str(tmp_path / "source"))
    source = open_checkpoint(str(tmp_path / "source"))
    execute(plan_convert(source, "hf", ConvertOptions(dtype="f32")), str(tmp_path / "hf"))
    out = open_checkpoint(str(tmp_path / "hf"))
    assert set(out.tensors) & set(out.layout.arrays)
    assert states(source, out) == {"equal"}


def test_its_gguf_has_its_own_names_and_keys(source: Checkpoint, tmp_path: Path) -> None:
    options = ConvertOptions(type="f32", embedding="f32", tokenizer="none")
    out = made(plan_convert(source, "gguf", options), tmp_path / "out.gguf")
    assert states(source, out) == {"equal"}
    assert {"unembed.weight", "blk.2.mlp_up.weight"} < {*out.layout.arrays}
    assert out.config.items() >= {f"own_{name}": number for name, number in CAPS.items()}.items()


def refusal(source: Checkpoint, to: str, options: ConvertOptions, **changed: Any) -> str:
    """Why a conversion of its family, with something changed, is refused."""
    model = Model(replace(FAMILY, **changed), SMALL)
    with pytest.raises(GrokpackError) as caught:
        plan_convert(replace(source, model=model), to, options)
    assert caught.value.code == "GP306"
    return str(caught.value)


def test_what_a_format_cannot_say_of_it_is_refused(source: Checkpoint) -> None:
    gguf, table = ConvertOptions(type="bf16", tokenizer="none"), FAMILY.gguf
    assert table is not None
    named = dict(table.tensors)
    del named["mlp_up"]
    assert "no architecture for Third" in refusal(source, "gguf", gguf, gguf=None)
    said = refusal(source, "gguf", gguf, gguf=replace(table, tensors=named))
    assert "no names for all tensors of Third" in said
    assert "no names in the convention of sglang" in refusal(source, "sglang", ConvertOptions(tp=2))


def test_a_network_of_other_parts_is_refused(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that no block computes, and parts without which a block cannot be computed."""
    np.save(tmp_path / "tokens.npy", np.arange(8))
    inputs = read_tokens(str(tmp_path / "tokens.npy"), None, None, 0)
    unheard: Any = "mlp_bias"
    monkeypatch.setitem(PARTS, unheard, PARTS["mlp_up"])
    paths = {unheard if part == "mlp_up" else part: path for part, path in FAMILY.paths.items()}
    other = replace(source, model=Model(replace(FAMILY, paths=paths), SMALL))
    with pytest.raises(GrokpackError, match="made of other parts than those") as caught:
        evaluate(other, inputs)
    assert caught.value.code == "GP345"
    assert caught.value.facts == (("not computed", "mlp_bias"), ("missing", "mlp_up"))


def test_a_release_in_another_format_is_not_synthesized() -> None:
    layout = ReleaseLayout("hf", weights=DType.BF16, others=DType.BF16)
    with pytest.raises(GrokpackError, match="the release of Third is no ckpt-0") as caught:
        plan_synth_model(Model(replace(FAMILY, release_layout=layout), UNSCALED))
    assert caught.value.code == "GP306"


def test_its_release_may_be_plain_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a weight of int8 codes with scales is not of its release."""
    layout = ReleaseLayout("ckpt-0", weights=DType.BF16, others=DType.BF16)
    plain = replace(FAMILY, release_layout=layout)
    monkeypatch.setitem(registry.FAMILIES, FAMILY.name, plain)
    execute(plan_synth_model(Model(plain, UNSCALED), 7), str(tmp_path / "plain"))
    assert verify_structure(survey(str(tmp_path / "plain"))).findings == ()
    source = open_checkpoint(str(tmp_path / "plain"))
    assert {(t.values.dtype, t.scales) for t in source.tensors.values()} == {(DType.BF16, None)}
    execute(plan_convert(source, "hf", ConvertOptions(names="third")), str(tmp_path / "hf"))
    assert states(source, open_checkpoint(str(tmp_path / "hf"))) == {"equal"}
    execute(plan_synth_model(Model(FAMILY, SMALL), 7), str(tmp_path / "coded"))
    found = verify_structure(survey(str(tmp_path / "coded"))).findings
    assert {(finding.code, finding.expected) for finding in found} == {
        ("GP106", "plain array"),
        ("GP106", "bf16"),
    }
