"""Views that cannot be: of no model, of arrays that do not lie densely, of too many chunks."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from grokpack.checkpoint.layouts import virtual_store_layout
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import ArraySlice, FileLayout, Layout, whole_box
from tests.support.conversions import attach
from tests.support.virtual_stores import (
    GATE,
    run,
)

BROKEN = {
    "gone": None,
    "no json": (virtual_store_layout.RECORD, "{"),
    "other record": (virtual_store_layout.RECORD, '{"schema": "grokpack/view/1", "base": 3}'),
    "a list": (virtual_store_layout.RECORD, "[]"),
    "a list of stamps": (".grokpack/run.json", "[]"),
    "stamps of another kind": (".grokpack/run.json", '{"kept": {"tensor00000_000": 3}}'),
}


@pytest.mark.parametrize("change", BROKEN)
def test_a_view_of_nothing_is_refused(model: Path, change: str) -> None:
    folder = attach(model)
    if (broken := BROKEN[change]) is None:
        shutil.rmtree(model / "ckpt-0")
    else:
        (folder / broken[0]).write_text(broken[1])
    code = "GP226" if change == "gone" else "GP209"
    done = run("inspect", folder)
    assert (done.exit_code, f"error[{code}]" in done.stderr) == (3, True)
    done = run("verify", folder)
    if (
        broken is not None and broken[0] == virtual_store_layout.RECORD
    ):  # its manifest proves the damage
        assert done.exit_code == 1
        assert "error[GP112]" in done.stdout + done.stderr
    else:
        assert (done.exit_code, f"error[{code}]" in done.stderr) == (3, True)


def test_only_files_that_hold_arrays_densely_can_be_pointed_at(
    model: Path,
) -> None:
    source = open_checkpoint(str(model))
    for other in (replace(source, format="another"), replace(source, folder="s3://a/ckpt-0")):
        with pytest.raises(GrokpackError) as caught:
            plan_convert(other, "view")
        assert caught.value.code == "GP306"


def test_arrays_that_are_no_chunks_in_place_are_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "grokpack.checkpoint.virtual_store.store_index.grid_in_place", lambda *_: "the files say so"
    )
    done = run("convert", model, "--to", "view")
    assert done.exit_code == 2
    assert "error[GP306]" in done.stderr
    assert "the files say so" in done.stderr
    assert not (model / "ckpt-0.view").exists()


def test_more_chunks_than_an_index_should_have_are_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.checkpoint.virtual_store.store_index.MOST_KEYS", 30)
    done = run("convert", model, "--to", "view")
    assert done.exit_code == 2
    assert "more than 30" in done.stderr


def test_names_that_no_key_can_be_are_refused(model: Path) -> None:
    checkpoint = open_checkpoint(str(model))
    layout = checkpoint.layout
    spec = layout.arrays[GATE]
    for name in (f"{GATE}/c/x", "\ud800"):
        data = ArraySlice(name, whole_box(spec.shape), spec.dtype)
        file = FileLayout("other", (data,))
        more = Layout({**layout.arrays, name: spec}, (*layout.file_groups, (file,)))
        with pytest.raises(GrokpackError) as caught:
            plan_convert(replace(checkpoint, layout=more), "view")
        assert caught.value.code == "GP306"
