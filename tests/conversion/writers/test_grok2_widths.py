"""Grok-2 at other widths: in the release's own names and grouping, merged, and back again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import plan_synth, plan_synth_model, preset
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import DType
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.models.family import Model
from grokpack.models.grok2 import GROK2
from grokpack.verification.verify_structure import verify_structure
from tests.faults.crashing import Crash, counted, crash_after
from tests.support.checkpoints import tree
from tests.support.grok2 import RELEASE, hashed, joined, listed

if TYPE_CHECKING:
    from pathlib import Path

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.planning.plan import Plan


def made(plan: Plan, out: Path) -> Checkpoint:
    """Run a plan, and open what it wrote: sound, and Grok-2."""
    execute(plan, str(out))
    assert verify_structure(survey(str(out))).findings == ()
    checkpoint = open_checkpoint(str(out))
    assert checkpoint.model.family.name == "grok-2"
    return checkpoint


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


@pytest.fixture(scope="module")
def release() -> Checkpoint:
    return open_checkpoint(str(RELEASE))


@pytest.fixture(scope="module")
def merged(release: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grok2") / "merged"
    made(plan_convert(release, "hf"), out)
    return out


def test_the_merged_folder_has_the_hashes_that_others_found(merged: Path) -> None:
    assert hashed(merged) == listed()
    added = {"tie_word_embeddings": False, "load_presharded_moe": False}
    assert config(merged) == config(RELEASE) | added
    names = {path.name for path in merged.iterdir() if path.suffix != ".safetensors"}
    assert "model.safetensors.index.json" in names
    assert not any(name.endswith(".py") for name in names)


def test_the_merged_folder_cut_for_8_is_the_release_byte_for_byte(
    merged: Path, tmp_path: Path
) -> None:
    made(plan_reshard(open_checkpoint(str(merged)), 8), tmp_path / "out")
    assert weights(tmp_path / "out") == weights(RELEASE)
    added = {"tie_word_embeddings": False, "load_presharded_moe": True}
    assert list(config(tmp_path / "out").items()) == [*config(RELEASE).items(), *added.items()]


def test_the_tokens_that_end_a_turn_go_along(merged: Path, release: Checkpoint) -> None:
    said = json.loads((merged / "generation_config.json").read_text())
    assert said == {"eos_token_id": [1, 2], "pad_token_id": 0}
    without = plan_convert(release, "hf", ConvertOptions(tokenizer="none")).target.finals
    assert "generation_config.json" not in without


def test_an_impossible_width_is_refused_with_each_remainder_once(release: Checkpoint) -> None:
    with pytest.raises(GrokpackError) as caught:
        plan_reshard(release, 3)
    assert [text for _, text in caught.value.facts] == [
        "8 query heads / 3",
        "2 key-value heads / 3",
        "expert width 64 / 3",
        "width 256 of the dense MLP / 3",
    ]


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_another_width_keeps_names_and_grouping_and_leads_back(
    release: Checkpoint, tmp_path: Path, tp: int
) -> None:
    cut = made(plan_reshard(release, tp), tmp_path / "cut")
    stems = (f"pytorch_model-{number:05d}-TP" for number in range(18))
    ranks = [f"{rank:03d}" for rank in range(tp)]
    assert {path.name for path in (tmp_path / "cut").glob("*.safetensors")} == {
        f"{stem}-{rank}.safetensors"
        for stem in stems
        for rank in (ranks if "00006" <= stem[14:19] <= "00008" else ["common"])
    }
    assert config(tmp_path / "cut")["load_presharded_moe"] is (tp > 1)
    made(plan_reshard(cut, 8), tmp_path / "back")
    assert weights(tmp_path / "back") == weights(RELEASE)


def test_more_ranks_than_the_release_has_join_to_its_tensors_and_lead_back(tmp_path: Path) -> None:
    """As many as xAI's can have: eight of 64 share a key head. Each width is made of the last."""
    sized = replace(
        GROK2.release, vocab=64, d_model=64, layers=1, ffn=128, mlp=128,
        q_width=256, kv_width=32, head_dim=4,
    )  # fmt: skip
    source = made(plan_synth_model(Model(GROK2, sized), 5), tmp_path / "8")
    wanted = {name: values.tobytes() for name, values in joined(tmp_path / "8").items()}
    for tp in (64, 32, 16):
        out = tmp_path / f"{tp}"
        source = made(plan_reshard(source, tp), out)
        assert len(list(out.glob("*-00007-TP-*.safetensors"))) == tp
        assert {name: values.tobytes() for name, values in joined(out).items()} == wanted
    made(plan_reshard(source, 8), tmp_path / "back")
    assert weights(tmp_path / "back") == weights(tmp_path / "8")


def test_a_run_that_was_killed_goes_on_to_the_same_files(
    release: Checkpoint, tmp_path: Path
) -> None:
    plan = plan_reshard(release, 4)
    with counted() as operations:
        execute(plan, str(tmp_path / "whole"), RunOptions(workers=1))
    crash_after(len(operations) // 2)
    with pytest.raises(Crash):
        execute(plan, str(tmp_path / "out"), RunOptions(workers=1))
    storage.faults.hook = None
    assert not (tmp_path / "out" / "grokpack.json").exists()
    made(plan, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_reshard_by_default_and_convert_to_sglang_make_one_plan(release: Checkpoint) -> None:
    plans = [
        plan_reshard(release, 4),
        plan_reshard(release, 4, "sglang"),
        plan_convert(release, "sglang", ConvertOptions(tp=4)),
    ]
    assert len({plan.digest() for plan in plans}) == 1
    assert plans[0].target.lossless


def test_folders_of_ranks_keep_every_value(release: Checkpoint, tmp_path: Path) -> None:
    cut = made(plan_reshard(release, 2, "safetensors"), tmp_path / "cut")
    assert {tensor.values.dtype for tensor in cut.tensors.values()} == {DType.BF16}
    assert not any(tensor.scales for tensor in cut.tensors.values())
    made(plan_reshard(cut, 8), tmp_path / "back")
    assert weights(tmp_path / "back") == weights(RELEASE)
    assert config(tmp_path / "cut") == config(RELEASE)


def test_what_cannot_be_is_refused(release: Checkpoint) -> None:
    def refusal(plan: Any, *arguments: Any, **named: Any) -> str:
        with pytest.raises(GrokpackError) as caught:
            plan(release, *arguments, **named)
        return f"{caught.value.code} {caught.value}"

    why = "no JAX code for Grok-2"
    assert why in refusal(plan_reshard, 8, "ckpt-0")
    assert why in refusal(plan_convert, "ckpt-0")
    assert why in refusal(plan_quantize, QuantizeOptions(bits=8, to="ckpt-0"))
    assert "GP304" in refusal(plan_convert, "sglang", ConvertOptions(shard_bytes=1 << 20))
    assert "GP304" in refusal(plan_reshard, 8, scales="expanded")
    assert "GP301" in refusal(plan_reshard, 16)
    assert "GP306" in refusal(plan_convert, "hf", ConvertOptions(names="hpcai"))


def test_a_vocabulary_that_ranks_do_not_share_is_no_obstacle(tmp_path: Path) -> None:
    geometry = replace(preset(GROK2.name, "tiny"), layers=1, vocab=1023)
    execute(plan_synth(geometry, model=GROK2.name), str(tmp_path / "release"))
    source = open_checkpoint(str(tmp_path / "release"))
    made(plan_reshard(source, 4), tmp_path / "four")
    made(plan_reshard(open_checkpoint(str(tmp_path / "four")), 8), tmp_path / "back")
    assert weights(tmp_path / "back") == weights(tmp_path / "release")
    with pytest.raises(GrokpackError, match="cannot be cut into 4"):
        plan_reshard(source, 4, "safetensors")


def test_the_licence_goes_along_or_is_missed(release: Checkpoint, tmp_path: Path) -> None:
    for plan in (
        plan_convert(release, "hf"),
        plan_reshard(release, 2),
        plan_reshard(release, 2, "safetensors"),
        plan_quantize(release, QuantizeOptions(to="compressed-tensors", group="32")),
    ):
        finals = plan.target.finals
        assert finals["LICENSE"] == (RELEASE / "LICENSE").read_bytes()
        assert b"apache" not in b"".join(finals.values()).lower()
    card = plan_convert(release, "hf").target.finals["README.md"].decode()
    assert "license: other\nlicense_name: grok-2-community\nlicense_link: LICENSE\n" in card
    bare = tmp_path / "bare"
    shutil.copytree(RELEASE, bare)
    (bare / "LICENSE").unlink()
    notes = plan_convert(open_checkpoint(str(bare)), "hf").target.notes
    assert any("no LICENSE is beside the source" in note for note in notes)


def test_a_constant_that_config_json_lacks_is_the_releases_and_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(RELEASE, folder)
    said = config(folder)
    del said["final_logit_softcapping"]
    (folder / "config.json").write_text(json.dumps(said))
    plan = plan_convert(open_checkpoint(str(folder)), "hf")
    assert any("no final_logit_softcapping" in n and "50" in n for n in plan.target.notes)
    assert json.loads(plan.target.finals["config.json"])["final_logit_softcapping"] == 50
