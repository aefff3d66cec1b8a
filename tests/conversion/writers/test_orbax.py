"""Checkpoints of Orbax: what is written beside the arrays, and what Orbax itself wrote.

`make oracle-orbax` lets Orbax restore and write; here a checkpoint that it wrote is read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.summary import document
from grokpack.conversion.plan_convert import plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.execution.run import execute
from grokpack.formats import orbax
from grokpack.models.architecture import Geometry
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.checkpoints import SMALL, synthesize, tensor_files, tree
from tests.support.conversions import convert
from tests.support.project import DATA

WRITTEN = DATA / "orbax"
"""By Orbax 0.12.8 in its default form, an OCDBT database: `make oracle-orbax-fixture`."""
TINY = Geometry(
    vocab=48, d_model=32, layers=1, experts=2, ffn=64, q_width=64, kv_width=64, head_dim=8
)
"""What it was made of, with the seed that is the default."""
QUERY = "transformer/decoder_layer_0/multi_head_attention/query"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", SMALL)


@pytest.fixture
def folder(origin: Path, tmp_path: Path) -> Path:
    convert(origin, tmp_path / "o", "orbax", tp=2)
    return tmp_path / "o"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return shutil.copytree(WRITTEN, tmp_path / "written")


def to_pickles(source: Path, out: Path) -> dict[str, bytes]:
    execute(plan_convert(open_checkpoint(str(source), 8), "ckpt-0"), str(out))
    return tensor_files(out / "ckpt-0")


# What is written


def test_the_tree_is_xais_with_two_leaves_for_a_quantized_weight(folder: Path) -> None:
    described = json.loads((folder / "_METADATA").read_text())
    rows = described["tree_metadata"]
    assert rows[str((QUERY, "w", "1"))]["key_metadata"] == [
        {"key": QUERY, "key_type": 2},
        {"key": "w", "key_type": 2},
        {"key": "1", "key_type": 1},
    ]
    norm = "('language_model/rms_norm', 'scale')"
    assert [row["key"] for row in rows[norm]["key_metadata"]] == [
        "language_model/rms_norm",
        "scale",
    ]
    assert (described["use_ocdbt"], described["use_zarr3"]) == (False, True)
    for row in rows.values():
        place = ".".join(key["key"] for key in row["key_metadata"])
        assert (folder / place / "zarr.json").exists()
    assert len(rows) == len([*folder.rglob("zarr.json")])


def test_the_commit_marker_is_written_last_and_no_file_holds_a_time(origin: Path) -> None:
    target = plan_convert(open_checkpoint(str(origin)), "orbax").target
    assert [*target.finals][-2:] == ["_METADATA", "commit_success.txt"]
    times = json.loads(target.finals["_CHECKPOINT_METADATA"])
    assert times["init_timestamp_nsecs"] is times["commit_timestamp_nsecs"] is None


def test_two_runs_write_the_same_bytes(origin: Path, folder: Path, tmp_path: Path) -> None:
    convert(origin, tmp_path / "again", "orbax", tp=2)
    assert tree(folder) == tree(tmp_path / "again")


def test_dequantized_weights_are_single_leaves(origin: Path, tmp_path: Path) -> None:
    convert(origin, tmp_path / "o", "orbax", dtype="bf16")
    leaves = orbax.parse((tmp_path / "o" / "_METADATA").read_bytes()).leaves
    assert (QUERY, "w") in leaves
    assert all(len(keys) == 2 for keys in leaves)


# What Orbax wrote


def test_what_orbax_wrote_becomes_the_same_pickles(database: Path, tmp_path: Path) -> None:
    source = synthesize(tmp_path / "m", TINY)
    verdict = verify_values(verify_structure(survey(str(database), 8)))
    assert verdict.whole, verdict.findings
    assert to_pickles(database, tmp_path / "back") == tensor_files(source / "ckpt-0")


def test_a_step_of_a_manager_is_found_by_its_folder(database: Path, tmp_path: Path) -> None:
    step = tmp_path / "run" / "100"
    step.mkdir(parents=True)
    shutil.move(database, step / "default")
    found = survey(str(step), 8)
    assert found.whole
    assert found.folder == str(step / "default")


def test_names_of_leaves_and_what_stands_above_the_model_do_not_matter(
    folder: Path, tmp_path: Path, origin: Path
) -> None:
    """As of {"params": {..., "w": {"weight": ..., "scales": ...}}} with an optimizer beside it."""
    described = json.loads((folder / "_METADATA").read_text())
    leaves = {}
    for row in described["tree_metadata"].values():
        keys = [key["key"] for key in row["key_metadata"]]
        named = ["params", *({"0": "weight", "1": "scales"}.get(key, key) for key in keys)]
        place = folder / ".".join(named)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / ".".join(keys), place)
        row["key_metadata"] = [{"key": key, "key_type": 2} for key in named]
        leaves[str(tuple(named))] = row
    shutil.copytree(place, folder / "opt.mu")
    mu = dict(row, key_metadata=[{"key": key, "key_type": 2} for key in ("opt", "mu")])
    described["tree_metadata"] = leaves | {"('opt', 'mu')": mu}
    (folder / "_METADATA").write_text(json.dumps(described))
    (folder / "grokpack.json").unlink()
    found = survey(str(folder))
    assert found.whole
    assert [(f.code, f.tensor) for f in found.findings] == [("GP102", "opt/mu")]
    assert to_pickles(folder, tmp_path / "back") == tensor_files(origin / "ckpt-0")


def test_bytes_are_told_by_role_where_a_database_holds_all_arrays(database: Path) -> None:
    data = document(survey(str(database), 8))
    assert sum(row["share"] for row in data["parts"]) == pytest.approx(1)
    files = [p for p in database.rglob("*") if p.is_file() and p.name != "_CHECKPOINT_METADATA"]
    inner = database / "ocdbt.process_0" / "manifest.ocdbt"
    assert inner in files
    assert data["bytes"] == sum(p.stat().st_size for p in files)


# Damage


def large_file(folder: Path) -> Path:
    return max((folder / "ocdbt.process_0" / "d").iterdir(), key=lambda p: p.stat().st_size)


def shorten(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a data file is missing": lambda f: large_file(f).unlink(),
    "a data file is cut short": lambda f: shorten(large_file(f)),
    "the database's manifest is cut short": lambda f: shorten(f / "manifest.ocdbt"),
    "a bit of the database's manifest is another": lambda f: flip(f / "manifest.ocdbt"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_database_is_an_error_that_names_the_file(
    database: Path, tmp_path: Path, case: str
) -> None:
    DAMAGES[case](database)
    with pytest.raises(GrokpackError) as caught:
        to_pickles(database, tmp_path / "back")
    assert caught.value.code in ("GP209", "GP225", "GP202")
    assert caught.value.exit_status is ExitStatus.SOURCE
    assert caught.value.where is not None
    assert not (tmp_path / "back" / "grokpack.json").exists()


def test_a_pipe_where_the_database_keeps_values_is_refused(database: Path) -> None:
    """In any folder that the index names, though TensorStore would wait for it without end."""
    path = large_file(database)
    path.unlink()
    path.parent.rename(database / "elsewhere")
    path.parent.symlink_to(database / "elsewhere")
    os.mkfifo(path)
    with pytest.raises(GrokpackError) as caught:
        survey(str(database), 8)
    assert caught.value.code == "GP237"


def test_a_leaf_of_which_no_array_is_there_is_missed(folder: Path) -> None:
    shutil.rmtree(folder / f"{QUERY}.w.0")
    found = {(f.code, f.tensor) for f in survey(str(folder)).findings}
    assert ("GP101", f"{QUERY}/w/0") in found


LEAF = """{"tree_metadata": {"x": {"key_metadata": [{"key": "KEY"}],
 "value_metadata": {"value_type": "jax.Array"}}}}"""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{" * 5000,
        '{"tree_metadata": {"x": {}}}',
        LEAF.replace("KEY", "../../etc"),
        LEAF.replace("KEY", "/etc"),
    ],
)
def test_a_hostile_tree_is_an_error(folder: Path, text: str) -> None:
    (folder / "_METADATA").write_text(text)
    with pytest.raises(GrokpackError) as caught:
        survey(str(folder))
    assert caught.value.code == "GP209"
    assert caught.value.where is not None


def test_a_tree_of_another_model_is_told(folder: Path) -> None:
    (folder / "_METADATA").write_text('{"tree_metadata": {}, "use_ocdbt": false}')
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(str(folder))
    assert caught.value.code == "GP202"
