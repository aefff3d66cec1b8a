"""Archives on a server: read in place, whether or not the server can be asked what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import plan_convert
from grokpack.execution.run import execute
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.conversion.writers.test_archive import SOURCES, archive_in_small_frames
from tests.support.checkpoints import synthesize, tree
from tests.support.conversions import WIDE
from tests.support.servers import impatient, serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["xAI's own", "ranks", "hf"])
def test_an_archive_on_a_server_is_read_as_it_is_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    impatient(monkeypatch)
    SOURCES[kind](synthesize(tmp_path / "origin", WIDE, seed=2), tmp_path / "m")
    near = tmp_path / "served" / "archive"
    archive_in_small_frames(tmp_path / "m", near)
    if kind == "xAI's own":  # names of pickles are tried where nothing lists them
        (near / "grokpack.json").unlink()
    with serving(tmp_path / "served") as server:
        far = f"{server.url}/archive"
        verdict = verify_values(verify_structure(survey(far)))
        assert verdict.whole
        assert not verdict.findings
        asked = [request.path for request in server.asked]
        assert not [path for path in asked if "/tensor" in path.rpartition("/")[0]]
        for to in ("ckpt-0", "hf", "files"):
            for place, name in ((far, "far"), (str(near), "near")):
                out = tmp_path / f"{name}-{to}"
                execute(plan_convert(open_checkpoint(place), to), str(out))
            weights = {p for p in tree(tmp_path / f"near-{to}") if not p.endswith(".json")}
            left, right = tree(tmp_path / f"far-{to}"), tree(tmp_path / f"near-{to}")
            assert {p: left[p] for p in weights} == {p: right[p] for p in weights}
