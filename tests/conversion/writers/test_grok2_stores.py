"""Stores of Grok-2: an array for each matrix of each expert, as the merged folder has them."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import grokpack
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_part import RunPart, execute_part
from grokpack.formats import orbax
from grokpack.verification.compare import compare
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.checkpoints import tree
from tests.support.conversions import attach, convert
from tests.support.grok2 import RELEASE, hashed, listed
from tests.support.virtual_stores import printed_spec, read_all
from tests.support.zarr_stores import by_tensorstore

if TYPE_CHECKING:
    from pathlib import Path

    from grokpack.checkpoint.checkpoint import Checkpoint

EXPERT = "model.layers.1.block_sparse_moe.experts.5.w2.weight"
STORES: dict[str, tuple[str, dict[str, Any]]] = {
    "zarr": ("zarr", {}),
    "zarr, compressed": ("zarr", {"compress": "zstd", "tp": 4}),
    "orbax": ("orbax", {"dtype": "bf16", "tp": 1}),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("stores")
    for name, (to, options) in STORES.items():
        convert(RELEASE, root / name, to, **options)
    return {name: root / name for name in STORES}


def arrays(store: Path) -> dict[str, np.ndarray]:
    """Every array of a folder of zarr arrays, by TensorStore alone."""
    documents = {path.parent: json.loads(path.read_text()) for path in store.rglob("zarr.json")}
    folders = [path for path, document in documents.items() if document["node_type"] == "array"]
    return {path.relative_to(store).as_posix(): by_tensorstore(path) for path in folders}


def summed(found: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Dtype, shape and sha256 of arrays, as `listed` has them."""
    return {
        name: {
            "dtype": {"bfloat16": "BF16"}[values.dtype.name],
            "shape": [*values.shape],
            "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
        }
        for name, values in found.items()
    }


@pytest.mark.parametrize("name", STORES)
def test_tensorstore_finds_what_the_merged_folder_holds(stores: dict[str, Path], name: str) -> None:
    assert summed(arrays(stores[name])) == listed()


def test_a_view_of_the_release_shows_ranks_joined(tmp_path: Path) -> None:
    release = shutil.copytree(RELEASE, tmp_path / "release")
    view = attach(release)
    assert summed(read_all(printed_spec(view))) == listed()
    assert verify_values(verify_structure(survey(str(view)))).findings == ()


def test_a_pytree_has_the_names_as_its_keys(stores: dict[str, Path]) -> None:
    tree = orbax.parse((stores["orbax"] / "_METADATA").read_bytes())
    assert {*tree.leaves} == {(name,) for name in listed()}


def test_attributes_say_which_expert_and_how_ranks_cut_it(stores: dict[str, Path]) -> None:
    document = json.loads((stores["zarr"] / EXPERT / "zarr.json").read_text())
    assert document["dimension_names"] == ["d_model", "ffn"]
    assert document["attributes"] == {
        "name": "model.layers.1.block_sparse_moe.experts.w2.weight",
        "role": "expert",
        "title": "experts, down projection",
        "tensor_parallel_axis": 1,
        "expert": 5,
    }
    assert len([*(stores["zarr"] / EXPERT / "c").rglob("*")]) == 1 + 8  # a file for each rank


@pytest.mark.parametrize("name", STORES)
def test_a_store_is_sound_and_leads_back_to_the_release(
    stores: dict[str, Path], tmp_path: Path, name: str
) -> None:
    assert verify_values(verify_structure(survey(str(stores[name])))).findings == ()
    source = open_checkpoint(str(stores[name]))
    assert (source.model.family.name, source.bits) == ("grok-2", {})
    execute(plan_reshard(source, 8), str(tmp_path / "release"))
    for path in RELEASE.glob("*.safetensors"):
        assert (tmp_path / "release" / path.name).read_bytes() == path.read_bytes()
    execute(plan_convert(source, "hf"), str(tmp_path / "hf"))
    assert hashed(tmp_path / "hf") == listed()


@pytest.mark.parametrize("name", STORES)
def test_nothing_in_a_store_names_another_licence(stores: dict[str, Path], name: str) -> None:
    """Every manifest named Grok-1's."""
    held = tree(stores[name])
    assert not [path for path, data in held.items() if b"apache" in data.lower()]
    manifest = json.loads(held["grokpack.json"])
    assert manifest["licence"] == "LicenseRef-grok-2-community"


@pytest.fixture(scope="module", params=[4, 8])
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Codes of four or of eight bits, from rounding alone."""
    out = tmp_path_factory.mktemp("packed") / f"{request.param}"
    options = QuantizeOptions(bits=request.param, group="32", method="rtn", tokenizer="none")
    execute(plan_quantize(open_checkpoint(str(RELEASE)), options), str(out))
    return open_checkpoint(str(out))


@pytest.mark.parametrize("to", ["zarr", "orbax"])
def test_codes_and_scales_of_each_expert_are_kept(
    packed: Checkpoint, tmp_path: Path, to: str
) -> None:
    """Also where four bits lie two in a byte."""
    execute(plan_convert(packed, to, ConvertOptions(tp=1)), str(tmp_path / "store"))
    found = open_checkpoint(str(tmp_path / "store"))
    assert found.tensors == packed.tensors
    assert compare(packed, found).state == "equal"
    if to == "zarr":
        (bits,) = {*packed.bits.values()}
        codes = json.loads((tmp_path / "store" / EXPERT / "zarr.json").read_text())
        assert codes["shape"] == [128, 64 * bits // 8]
        assert found.bits == packed.bits


def test_what_is_missing_is_named_with_its_expert(stores: dict[str, Path], tmp_path: Path) -> None:
    store = shutil.copytree(stores["zarr"], tmp_path / "store")
    (store / "grokpack.json").unlink()
    shutil.rmtree(store / EXPERT)
    assert [(f.code, f.tensor) for f in survey(str(store)).findings] == [("GP101", EXPERT)]
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(str(store))
    assert caught.value.code == "GP202"


def test_experts_of_unequal_shape_are_no_stack(stores: dict[str, Path], tmp_path: Path) -> None:
    store = shutil.copytree(stores["zarr"], tmp_path / "store")
    (store / "grokpack.json").unlink()
    shutil.rmtree(store / EXPERT)
    shutil.copytree(store / EXPERT.replace("w2", "w1"), store / EXPERT)
    found = [(f.code, f.tensor) for f in survey(str(store)).findings]
    assert found == [("GP106", EXPERT.replace("5", "0"))]


def test_a_bad_value_is_named_with_the_file_of_its_expert(tmp_path: Path) -> None:
    release = shutil.copytree(RELEASE, tmp_path / "release")
    path = release / "pytorch_model-00007-TP-003.safetensors"
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    first, _ = json.loads(data[8:begin])[EXPERT]["data_offsets"]
    data[begin + first : begin + first + 2] = b"\xc0\x7f"  # NaN in bfloat16
    path.write_bytes(data)
    convert(release, tmp_path / "store", "zarr")
    findings = verify_values(verify_structure(survey(str(tmp_path / "store")))).findings
    (finding,) = findings
    assert (finding.code, finding.file) == ("GP120", f"{EXPERT}/c/0/3")


def test_parts_in_any_order_write_the_store_of_one_run(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    plan = plan_convert(open_checkpoint(str(RELEASE)), "zarr")
    done = [execute_part(plan, str(tmp_path / "out"), RunPart(n, 3)).published for n in (3, 1, 2)]
    assert done == [False, False, True]
    assert tree(tmp_path / "out") == tree(stores["zarr"])


def test_an_archive_is_read_and_becomes_the_files_again(tmp_path: Path) -> None:
    convert(RELEASE, tmp_path / "archive", "archive")
    assert verify_structure(survey(str(tmp_path / "archive"))).findings == ()
    packed = open_checkpoint(str(tmp_path / "archive"))
    execute(plan_convert(packed, "hf"), str(tmp_path / "hf"))
    assert hashed(tmp_path / "hf") == listed()
    execute(plan_convert(packed, "files"), str(tmp_path / "files"))
    for path in RELEASE.iterdir():
        assert (tmp_path / "files" / path.name).read_bytes() == path.read_bytes(), path.name


def test_grokpack_opens_a_view_and_a_store_as_the_models_tensors(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    release = shutil.copytree(RELEASE, tmp_path / "release")
    name = "model.layers.1.block_sparse_moe.experts.w2.weight"
    wanted = by_tensorstore(stores["zarr"] / EXPERT)
    for place in (release, attach(release), stores["zarr"], stores["orbax"]):
        opened = grokpack.open(str(place))
        assert len(opened) == 3 + 3 * 15
        np.testing.assert_array_equal(opened[name][5].read().result().T, wanted)


def test_there_is_no_ckpt_0_which_is_said_with_the_reason() -> None:
    with pytest.raises(GrokpackError, match="JAX") as caught:
        plan_convert(open_checkpoint(str(RELEASE)), "ckpt-0", ConvertOptions())
    assert caught.value.code == "GP306"


@pytest.mark.parametrize("tp", [1, 2])
def test_ranks_hold_what_is_packed(packed: Checkpoint, tmp_path: Path, tp: int) -> None:
    """They were written, and could not be opened: no release of Grok-2 has scales."""
    execute(plan_reshard(packed, tp, "safetensors"), str(tmp_path / "ranks"))
    found = open_checkpoint(str(tmp_path / "ranks"))
    assert (found.ranks, found.bits) == (tp, packed.bits)
    assert compare(packed, found).state == "equal"
