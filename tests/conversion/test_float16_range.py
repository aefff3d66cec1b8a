"""Scales and values that float16 cannot hold: refused, or told before the run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError, Place
from grokpack.execution.run import execute
from tests.support.conversions import WIDE, convert
from tests.support.weight_formula import exact_weights


def large_scale(source: Path, out: Path, scale: float = 2.0**100, output: int = 0) -> Path:
    """A copy in which one scale, of layer 1's query, is large."""
    shutil.copytree(source, out)
    path = sorted((out / "ckpt-0").glob("tensor*"))[2 + 12 + 5]
    data = path.read_bytes()
    scale_bytes = 2 * WIDE.q_width
    end = data.rindex(b"t\x94b", 0, len(data))
    at = next(
        i
        for i in range(end, 0, -1)
        if data[i : i + 1] == b"B" and data[i + 1 : i + 5] == scale_bytes.to_bytes(4, "little")
    )
    changed = bytearray(data)
    changed[at + 5 + 2 * output : at + 7 + 2 * output] = np.float32(scale).tobytes()[2:]  # bfloat16
    path.write_bytes(changed)
    return out


@pytest.mark.parametrize("form", ["released", "expanded", "zarr"])
def test_a_scale_that_float16_cannot_hold_is_refused(
    tmp_path: Path, origin: Path, form: str
) -> None:
    source = large_scale(origin, tmp_path / "in")
    if form == "zarr":
        convert(source, tmp_path / "z", "zarr")
        source = tmp_path / "z"
    elif form == "expanded":
        execute(plan_reshard(open_checkpoint(str(source)), 4, "ckpt-0"), str(tmp_path / "ex"))
        source = tmp_path / "ex"
    with pytest.raises(GrokpackError, match="float16 cannot hold") as caught:
        convert(source, tmp_path / "x.gguf", "gguf", type="q8_0")
    assert caught.value.code == "GP406"
    assert "quantize" in (caught.value.hint or "")
    assert not list(tmp_path.glob("x.gguf*")), "refused before anything is written"


def test_a_value_that_float16_cannot_hold_leaves_nothing_that_looks_whole(
    tmp_path: Path, origin: Path
) -> None:
    """No scale tells of it: the source is in bfloat16."""
    convert(large_scale(origin, tmp_path / "ck"), tmp_path / "in", "hf")
    plan = plan_convert(open_checkpoint(str(tmp_path / "in")), "hf", ConvertOptions(dtype="f16"))
    assert "found only when it is reached" in " ".join(plan.target.notes)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"))
    assert caught.value.code == "GP405"
    assert not [p for p in (tmp_path / "out").iterdir() if p.suffix in (".safetensors", ".json")]
    with pytest.raises(GrokpackError) as again:
        survey(str(tmp_path / "out"))
    assert again.value.code == "GP212"


@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_products_that_float16_cannot_hold_are_told_by_their_scales(
    tmp_path: Path, origin: Path, to: str
) -> None:
    """128 times 512 is too large, 127 times 512 is not: some outputs have a code of -128."""
    name = "transformer/decoder_layer_1/multi_head_attention/query/w"
    options = (
        ConvertOptions(type="f16", tokenizer="none")
        if to == "gguf"
        else ConvertOptions(dtype="f16")
    )
    seen = set()
    for scale, output in [(510.0, 0), *((512.0, n) for n in range(6)), (1000.0, 0)]:
        path = large_scale(origin, tmp_path / f"{scale}-{output}", scale, output)
        source, exact = open_checkpoint(str(path)), exact_weights(path)[name]
        fits = bool((np.abs(exact) < 65520).all())
        seen.add((scale, fits))
        if fits:
            notes = " ".join(plan_convert(source, to, options).target.notes)
            assert "all products of 14 weights fit float16" in notes
            assert ("found only" in notes) is (to == "hf"), "of hf, the embedding is left to see"
            continue
        with pytest.raises(GrokpackError, match="too large for float16") as caught:
            plan_convert(source, to, options)
        assert caught.value.code == "GP405"
        assert ("at", f"group 0, output {output}") in caught.value.facts
        assert caught.value.where == Place(name)
    assert seen == {(510.0, True), (512.0, True), (512.0, False), (1000.0, False)}
