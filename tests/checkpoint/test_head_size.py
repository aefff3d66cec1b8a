"""A head size that is given: used where no config has one, refused if it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import plan_convert
from grokpack.core.errors import UnusableValue
from grokpack.execution.run import execute
from tests.support.checkpoints import SMALL, reshard, synthesize
from tests.support.grok2 import GOLDEN

CONVERTED = ("hf", "zarr", "orbax")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("heads") / "source")


def refused(path: Path, head_dim: int) -> str:
    with pytest.raises(UnusableValue) as caught:
        open_checkpoint(path, head_dim)
    return caught.value.what


@pytest.mark.parametrize("to", ["source", "safetensors", *CONVERTED])
def test_another_size_than_the_checkpoint_has_is_no_damage(
    source: Path, to: str, tmp_path: Path
) -> None:
    """The config was said to be wrong, by shapes that were not at fault."""
    place = source if to == "source" else tmp_path / "x"
    if to == "safetensors":
        reshard(source, place, 2)
    elif to in CONVERTED:
        execute(plan_convert(open_checkpoint(source), to), place)
    assert refused(place, 16) == "--head-dim is 16, and the checkpoint's own config has 8"
    assert open_checkpoint(place, 8).geometry.head_dim == 8


def test_another_size_than_a_release_has() -> None:
    assert "--head-dim is 3" in refused(GOLDEN / "release", 3)


def test_a_size_that_the_widths_cannot_have_is_not_blamed_on_a_file(
    tmp_path: Path,
) -> None:
    bare = synthesize(tmp_path / "bare")
    (bare / "config.json").unlink()
    widths = f"{SMALL.q_width} and {SMALL.kv_width}"
    assert refused(bare, 5) == f"--head-dim 5 does not divide the attention widths {widths}"
    assert open_checkpoint(bare, 16).geometry.head_dim == 16
