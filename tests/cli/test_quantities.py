"""Sizes, durations, parts and dimensions from a command line: a value in range, or a code."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.cli import parsing
from grokpack.conversion.plan_synth import plan_synth
from grokpack.core.errors import GrokpackError
from tests.support.checkpoints import SMALL

digits = st.text(st.sampled_from("0123456789.eE+-\u0665 "), max_size=12) | st.sampled_from(
    ["9" * 400, "1e400", "9" * 5000, "nan", "inf", "1." + "0" * 400]
)
units = st.sampled_from(["", "B", "KB", "TiB", "x", "s", "w", "d", "/3", "/" + "9" * 30])


@given(digits, units)
def test_any_text_is_a_quantity_or_is_refused(number: str, unit: str) -> None:
    for parse in (
        partial(parsing.parse_bytes, "--memory"),
        partial(parsing.parse_seconds, "--max-duration"),
        parsing.parse_workers,
    ):
        with contextlib.suppress(GrokpackError):
            found = parse(number + unit)
            assert found is not None
            assert 0 <= found < math.inf
    with contextlib.suppress(GrokpackError):
        part = parsing.parse_part("--part", number + unit)
        assert 1 <= part[0] <= part[1] < 1_000_000
    with contextlib.suppress(GrokpackError):
        assert 0 < parsing.parse_percentage("--subset", number + "%") <= 1


@pytest.mark.parametrize("size", [1 << 31, 10**23])
@pytest.mark.parametrize("name", ["vocab", "d_model", "ffn", "experts"])
def test_dimensions_that_no_format_holds_are_refused(name: str, size: int) -> None:
    with pytest.raises(GrokpackError) as caught:
        plan_synth(replace(SMALL, **{name: size}))
    assert caught.value.code == "GP305"
