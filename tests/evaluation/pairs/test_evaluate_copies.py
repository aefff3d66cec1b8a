"""Copies in other formats and orders compute the same, within limits that no wrong weight keeps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.evaluation.network_verdict import Thresholds, findings
from tests.support.altered_copies import (
    alter,
    copy,
    of_layer,
    permute_experts,
    set_constant,
    swap,
)
from tests.support.checkpoints import reshard
from tests.support.conversions import attach, convert
from tests.support.quantized_checkpoints import quantize

if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[[Path], object]
from tests.support.evaluated_pairs import (
    CONVERTED,
    EMBEDDING,
    GATE,
    KEY,
    MODEL,
    QUANTIZED,
    REORDERED,
    VALUE,
    errors,
    evaluated,
    exchange,
    one_code,
)


@pytest.mark.parametrize("name", REORDERED)
def test_another_order_of_experts_or_heads_computes_the_same(
    model: Path, other: Path, name: str
) -> None:
    REORDERED[name](other)
    for pair in ((model, other), (other, model)):
        found = findings(evaluated(*pair), Thresholds())
        assert {(row.code, row.severity) for row in found} == {("GP145", "warning")}


def test_another_order_does_not_hide_a_wrong_code(model: Path, other: Path) -> None:
    permute_experts(other, 1, [1, 0, 2, 3])
    alter(other, of_layer(1, GATE), one_code(3, 5, 7))
    alter(other, of_layer(1, KEY), one_code(5, 7))
    named = {row.tensor for row in errors(evaluated(model, other)) if row.code == "GP144"}
    assert {of_layer(1, GATE), of_layer(1, KEY)} <= named


@pytest.fixture(scope="module")
def forms(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of the model in other formats, most of which round."""
    out = tmp_path_factory.mktemp("forms")
    for name, (to, options) in CONVERTED.items():
        convert(model, out / name, to, **options)
    for name, options in QUANTIZED.items():
        quantize(model, out / name, **options)
    reshard(model, out / "tp2", 2)
    return {path.name: path for path in out.iterdir() if not path.name.endswith(".json")}


@pytest.mark.parametrize("name", [*CONVERTED, *QUANTIZED, "tp2"])
def test_a_copy_in_another_format_is_within_its_limits(
    model: Path, forms: dict[str, Path], name: str
) -> None:
    found = evaluated(model, forms[name])
    assert findings(found, Thresholds()) == []
    back = evaluated(forms[name], model)
    assert findings(back, Thresholds()) == []
    states = {row.state for part in found.parts for row in part.weights}
    assert states == ({"equal"} if name in ("hf32", "zarr", "tp2") else {"equal", "within"})


@pytest.mark.parametrize(
    "pair", [("int4", "hf"), ("int4-zeros", "q4_0.gguf"), ("hf16", "hf"), ("ckpt-0", "int8")]
)
def test_copies_in_other_formats_are_within_limits_of_each_other(
    forms: dict[str, Path], pair: tuple[str, str]
) -> None:
    assert findings(evaluated(forms[pair[0]], forms[pair[1]]), Thresholds()) == []


def test_a_view_is_what_it_shows(model: Path, tmp_path: Path) -> None:
    view = attach(copy(model, tmp_path / "seen"))
    assert findings(evaluated(model, view), Thresholds()) == []


@pytest.mark.parametrize("name", ["int4", "hf", "q4_0.gguf", "iq4_nl.gguf", "nvfp4"])
def test_a_quantized_or_rounded_copy_of_another_model_is_found(
    other: Path, forms: dict[str, Path], name: str
) -> None:
    exchange(other, of_layer(0, VALUE), of_layer(1, VALUE))
    named = [row.tensor for row in errors(evaluated(other, forms[name])) if row.code == "GP144"]
    assert named == [of_layer(0, VALUE), of_layer(1, VALUE)]
    alter(other, EMBEDDING, lambda v: swap(v, 61, 62))
    assert EMBEDDING in [row.tensor for row in errors(evaluated(forms[name], other))]


def with_recorded_error(
    model: Path, out: Path, error: float, change: Callable[[np.ndarray], None]
) -> Path:
    """A copy with other keys, and an account that says how far they are from the model's."""
    shutil.copytree(model, out)
    alter(out, of_layer(1, KEY), change)
    path = out / "grokpack.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["account"] = {"tensors": {of_layer(1, KEY): {"relative_error": error}}}
    path.write_text(json.dumps(document), encoding="utf-8")
    return out


def test_a_forged_account_excuses_no_more_than_half_a_step(model: Path, tmp_path: Path) -> None:
    forged = with_recorded_error(model, tmp_path / "forged", 1.0, one_code(5, 7))
    named = [row.tensor for row in errors(evaluated(model, forged)) if row.code == "GP144"]
    assert named == [of_layer(1, KEY)]


@pytest.mark.parametrize(("told", "code"), [(0.005, "GP144"), (0.4, None)])
def test_an_error_far_beyond_its_account_is_found(
    model: Path, tmp_path: Path, told: float, code: str | None
) -> None:
    """A search for scales may cut off the ends of a range, and says by how much all values err."""

    def clip(values: np.ndarray) -> None:
        values[...] = np.clip(values, -40, 40)

    with_recorded_error(model, tmp_path / "clipped", told, clip)
    found = findings(evaluated(model, tmp_path / "clipped"), Thresholds())
    rows = [row for row in found if row.code == "GP144"]
    assert [(row.code, row.tensor) for row in rows] == [(code, of_layer(1, KEY))] * bool(code)
    for row in rows:
        assert row.expected == f"relative error {told} by the account of its quantization"
        assert (row.found or "").startswith("relative error 0.")


def test_the_account_beside_a_single_file_is_read(
    model: Path, forms: dict[str, Path], tmp_path: Path
) -> None:
    """All its weights are within half a step, and one errs far more than the account says."""
    copied = Path(shutil.copy(forms["q4_0.gguf"], tmp_path / "copied.gguf"))
    document = json.loads(forms["q4_0.gguf"].with_suffix(".gguf.grokpack.json").read_bytes())
    document["account"]["tensors"][of_layer(1, KEY)]["relative_error"] /= 10
    (tmp_path / "copied.gguf.grokpack.json").write_text(json.dumps(document), encoding="utf-8")
    found = findings(evaluated(model, copied), Thresholds())
    assert [(row.code, row.tensor) for row in found] == [("GP144", of_layer(1, KEY))]


def test_limits_that_are_given_replace_those_of_the_network(model: Path, other: Path) -> None:
    """Weights are held against their formats all the same."""
    set_constant(other, attn_logit_cap=31.0)
    found = evaluated(model, other)
    assert [row.code for row in findings(found, Thresholds())] == ["GP143", "GP141"]
    assert [row.code for row in findings(found, Thresholds(max_kl=10.0))] == ["GP143"]
    assert [row.code for row in findings(found, Thresholds(min_top1=1.0, max_kl=0.0))][:2] == [
        "GP143",
        "GP142",
    ]


def test_limits_of_layers_hold_the_worst_layer(model: Path, forms: dict[str, Path]) -> None:
    """Also where every part is within what four bits allow."""
    found = evaluated(model, forms["q4_0.gguf"])
    assert findings(found, Thresholds()) == []
    assert 0 < found.most_flips == max(layer.flips for layer in found.layers)
    assert 1 > found.least_cosine == min(layer.cosine for layer in found.layers) > 0.8
    kept = Thresholds(max_router_flips=found.most_flips, min_layer_cosine=found.least_cosine)
    assert findings(found, kept) == []
    for limits in (
        Thresholds(max_router_flips=found.most_flips - 0.01),
        Thresholds(min_layer_cosine=found.least_cosine + 1e-6),
    ):
        assert [row.code for row in findings(found, limits)] == ["GP142"]


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_same_network_is_within_the_order_of_sums(
    model: Path, forms: dict[str, Path], precision: str
) -> None:
    for other in (model, forms["hf32"]):
        assert findings(evaluated(model, other, precision=precision), Thresholds()) == []


def test_each_byte_of_either_is_read_once(model: Path, forms: dict[str, Path]) -> None:
    """All experts are, since those that no token chose are compared as well."""
    found = evaluated(model, forms["zarr"], 5)
    embedding = 4 * MODEL.vocab * MODEL.d_model
    values = sum(t.values.nbytes for t in open_checkpoint(str(model)).tensors.values())
    assert found.read_bytes <= 2 * (values + embedding)


@pytest.mark.parametrize("name", ["bos", "eos", "padding"])
def test_token_ids_of_a_gguf_are_compared(model: Path, tmp_path: Path, name: str) -> None:
    """In files that others made: its own without a vocabulary name no tokens."""
    convert(model, tmp_path / "made.gguf", "gguf", type="bf16")
    reader = gguf.GGUFReader(tmp_path / "made.gguf")
    writer = gguf.GGUFWriter(tmp_path / "others.gguf", "grok")
    for key, held in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, held.contents(), held.types[0])
    writer.add_uint32(f"tokenizer.ggml.{name}_token_id", 7)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    row, *_ = errors(evaluated(model, tmp_path / "others.gguf"))
    assert (row.code, row.found) == ("GP143", "7")
