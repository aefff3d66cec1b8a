"""Variants of packed weights: inputs in any order, and AutoAWQ's packing, by second formulas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.readers import packing_variants
from grokpack.core.layout import whole_box
from grokpack.transforms.dequantize import read_as_f32
from tests.support import packed_formula
from tests.support.packed_folders import Arrays, change, refusal, say, settings


def permute(arrays: Arrays) -> None:
    generator = np.random.default_rng(0)
    for name in arrays:
        if name.endswith(".g_idx"):
            arrays[name] = generator.permutation(arrays[name])


def turn_groups(arrays: Arrays) -> None:
    for name in arrays:
        if name.endswith(".g_idx"):
            arrays[name] = arrays[name].max() - arrays[name]


def swap_two(arrays: Arrays) -> None:
    name = next(n for n in sorted(arrays) if n.endswith(".g_idx") and arrays[n].max() > 0)
    arrays[name][[0, -1]] = arrays[name][[-1, 0]]


def as_64_bits(arrays: Arrays) -> None:
    """Permute the inputs, and give their groups as older tools do."""
    permute(arrays)
    for name in arrays:
        if name.endswith(".g_idx"):
            arrays[name] = arrays[name].astype(np.int64)


@pytest.mark.parametrize("edit", [permute, turn_groups, swap_two, as_64_bits])
@pytest.mark.parametrize("form", ["gptq", "gptq 8"])
@pytest.mark.parametrize("said", [True, False])
def test_inputs_in_any_order_have_the_scales_of_their_groups(
    copied: Callable[[str], Path], edit: Callable[[Arrays], None], form: str, said: bool
) -> None:
    folder = copied(form)
    change(folder, edit)
    say(folder, settings(folder) | {"desc_act": said})
    check_products(
        folder, lambda found, base: packed_formula.gptq(found, base, 8 if "8" in form else 4)
    )


def check_products(
    folder: Path, decode: Callable[[dict[str, np.ndarray], str], np.ndarray]
) -> None:
    """Compare every weight with a second formula for it."""
    checkpoint, found = open_checkpoint(str(folder)), packed_formula.arrays(folder)
    reader = ArrayReader(checkpoint)
    for entry in checkpoint.model.tensors():
        if not entry.rule.quantized:
            continue
        tensor = checkpoint.tensors[entry.name]
        made = read_as_f32(tensor, whole_box(tensor.values.shape), reader).swapaxes(-1, -2)
        experts = range(len(made)) if entry.rule.stacked else [None]
        for expert in experts:
            wanted = decode(found, packed_formula.module("hpcai", entry, expert))
            own = made if expert is None else made[expert]
            np.testing.assert_array_equal(own, wanted.astype(np.float32))


def test_act_order_that_changes_nothing_is_read(
    copied: Callable[[str], Path], written: dict[str, Path]
) -> None:
    folder = copied("gptq")
    say(folder, settings(folder) | {"desc_act": True})
    found, wanted = survey(str(folder)), survey(str(written["gptq"]))
    assert found.whole
    assert found.checkpoint is not None
    assert wanted.checkpoint is not None
    assert found.checkpoint.tensors == wanted.checkpoint.tensors


@pytest.mark.parametrize("value", [-1, 1000, 1 << 30])
def test_an_order_that_names_no_group_is_broken(copied: Callable[[str], Path], value: int) -> None:
    folder = copied("gptq")

    def edit(arrays: Arrays) -> None:
        for name in arrays:
            if name.endswith(".g_idx"):
                arrays[name][3] = value

    change(folder, edit)
    assert refusal(folder).code == "GP209"


@pytest.mark.parametrize("order", ["permuted", "plain", "not made"])
@pytest.mark.parametrize("form", ["packed", "packed with zeros"])
def test_the_order_of_compressed_tensors_is_that_of_the_scales(
    copied: Callable[[str], Path], form: str, order: str
) -> None:
    folder = copied(form)
    generator = np.random.default_rng(1)

    def edit(arrays: Arrays) -> None:
        for name in [n for n in arrays if n.endswith(".weight_packed")]:
            plain = (np.arange(arrays[name].shape[1] * 8) // 64).astype(np.int32)
            made = {
                "permuted": generator.permutation(plain),
                "plain": plain,
                "not made": plain * 0 - 1,
            }
            arrays[name.replace("_packed", "_g_idx")] = made[order]

    change(folder, edit)

    def decode(found: dict[str, np.ndarray], base: str) -> np.ndarray:
        group = found.pop(f"{base}.weight_g_idx")
        of_each = np.arange(len(group)) // 64 if order == "not made" else group
        parts = {f"{base}.weight_scale": found[f"{base}.weight_scale"][:, of_each]}
        zeros = f"{base}.weight_zero_point"
        if zeros in found:
            parts[zeros] = found[zeros][:, of_each]
        return packed_formula.compressed_tensors(found | parts, base, 4)

    check_products(folder, decode)


_FIELDS = (0, 2, 4, 6, 1, 3, 5, 7)
"""Outputs in a word of AWQ, from the lowest bits on."""


def awq_words(codes: np.ndarray) -> np.ndarray:
    """Pack codes `[row, out]` as AutoAWQ does, `i32[row, out / 8]`."""
    eights = codes.astype(np.uint32).reshape(len(codes), -1, 8)[..., _FIELDS]
    words: np.ndarray = (eights << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32)
    return words.view(np.int32)


def to_awq(arrays: Arrays) -> None:
    """Pack the weights of a GPTQ folder as AutoAWQ does, with other zero points."""
    for name in [n for n in arrays if n.endswith(".qweight")]:
        base = name.removesuffix(".qweight")
        arrays[name] = awq_words(packed_formula.fields(arrays[name].T, 4).T)
        zeros = packed_formula.fields(arrays[f"{base}.qzeros"], 4)
        arrays[f"{base}.qzeros"] = awq_words((zeros + np.arange(zeros.shape[1])) % 16)
        arrays[f"{base}.scales"] = arrays[f"{base}.scales"].astype(np.float16)
        del arrays[f"{base}.g_idx"]


def awq(found: dict[str, np.ndarray], base: str) -> np.ndarray:
    """A weight `f64[out, in]` of AutoAWQ's arrays, field by field."""

    def fields(words: np.ndarray) -> np.ndarray:
        made = np.empty((len(words), words.shape[1] * 8), np.int64)
        for place, output in enumerate(_FIELDS):
            made[:, output::8] = (words.view(np.uint32) >> (4 * place)) & 15
        return made

    codes, zeros = fields(found[f"{base}.qweight"]), fields(found[f"{base}.qzeros"])
    per_group = len(codes) // len(zeros)
    scales = np.repeat(found[f"{base}.scales"].astype(np.float64), per_group, axis=0)
    product: np.ndarray = ((codes - np.repeat(zeros, per_group, axis=0)) * scales).T
    return product


def test_the_packing_of_awq_is_read(copied: Callable[[str], Path]) -> None:
    folder = copied("gptq")
    change(folder, to_awq)
    how = {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"}
    say(folder, how)
    (folder / "quant_config.json").write_text(
        json.dumps({"w_bit": 4, "q_group_size": 64, "version": "GEMM", "zero_point": True})
    )
    check_products(folder, awq)


def test_other_packings_of_awq_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("gptq")
    change(folder, to_awq)
    say(folder, {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemv"})
    error = refusal(folder)
    assert (error.code, "gemv" in error.what) == ("GP208", True)


def test_words_of_gptq_without_their_order_are_named(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("gptq")

    def edit(arrays: Arrays) -> None:
        for name in [n for n in arrays if n.endswith(".g_idx")]:
            del arrays[name]

    change(folder, edit)
    assert {f.code for f in survey(str(folder)).findings} == {"GP105"}


@given(st.integers(1, 9), st.integers(1, 40), st.data())
def test_an_order_is_plain_when_each_input_has_the_group_of_its_place(
    groups: int, per_group: int, data: st.DataObject
) -> None:
    inputs = groups * per_group
    plain = np.arange(inputs) // per_group
    order = data.draw(st.one_of(st.just(plain), st.permutations(list(plain)).map(np.array)))
    found = packing_variants.InputOrder("x", inputs, groups).form(
        "f", lambda _, a, n: order[a : a + n]
    )
    natural = all(order[i] == i // per_group for i in range(inputs))
    assert found == ("plain" if natural else "mixed")
