"""The checksum of chunks: what it is by another program's word, and where it cannot be fast."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import crc32c as another_program
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.formats import crc32c as checksums
from grokpack.formats.crc32c import crc32c
from tests.support.checkpoints import SMALL, synthesize

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(str(synthesize(tmp_path_factory.mktemp("origin") / "ckpt-0", SMALL)))


@pytest.fixture
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as an installation without a compiler leaves it: it warns, and is slow."""
    for module in ("google_crc32c", "google_crc32c.cext"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "google_crc32c._crc32c", None)
    checksums._compiled.cache_clear()


def test_the_checksum_is_that_of_the_published_example() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


@given(st.binary(max_size=300), st.integers(0, 9))
def test_the_checksum_is_that_of_another_program(data: bytes, start: int) -> None:
    for run in (data, data * 100):
        wanted = another_program.crc32c(run)
        assert crc32c(run) == wanted
        unaligned = np.frombuffer(bytes(start) + run, np.uint8)[start:]
        assert crc32c(unaligned) == wanted


@pytest.mark.usefixtures("_uncompiled")
@pytest.mark.parametrize("to", ["zarr", "orbax", "view"])
def test_without_the_compiled_part_nothing_is_planned_that_needs_it(
    origin: Checkpoint, to: str
) -> None:
    with pytest.raises(GrokpackError) as caught:
        plan_convert(origin, to)
    assert caught.value.code == "GP307"
    assert "google-crc32c" in (caught.value.hint or "")


@pytest.mark.usefixtures("_uncompiled")
def test_without_the_compiled_part_compressed_chunks_are_not_planned_either(
    origin: Checkpoint,
) -> None:
    with pytest.raises(GrokpackError) as caught:
        plan_convert(origin, "zarr", ConvertOptions(compress="zstd"))
    assert caught.value.code == "GP307"
