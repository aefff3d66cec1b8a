"""`quantize --avg-bits` and `--size`: within the size, reproducible, and nearer to the original."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
from typer.testing import CliRunner

from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli.app import app
from grokpack.conversion.plan_synth import plan_synth
from grokpack.conversion.quantization import sampled_errors
from grokpack.conversion.quantization.error_share import error_shares
from grokpack.execution.run import execute
from grokpack.kernels import dispatch
from grokpack.models.architecture import Geometry
from grokpack.transforms.source_weight import SourceWeight
from tests.report.test_schemas import answer
from tests.support.quantized_checkpoints import FASTEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Made = Callable[..., Path]

GEOMETRIES = {
    "grok-1": Geometry(
        vocab=256, d_model=256, layers=2, experts=2, ffn=256, q_width=256, kv_width=128, head_dim=16
    ),
    "grok-2": Geometry(
        vocab=512, d_model=256, layers=2, experts=2, ffn=256, mlp=256, q_width=256, kv_width=64,
        head_dim=16, scale_groups=None,
    ),
}  # fmt: skip
TO_GGUF = ("--to", "gguf", "--tokenizer", "none")


@pytest.fixture(scope="module", autouse=True)
def few_samples() -> Iterator[None]:
    """Samples and kernels that take a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampled_errors, "SAMPLED", 1 << 14)
        patch.setenv(dispatch.VARIABLE, FASTEST)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def model(folder: Path) -> Made:
    """Makes an uneven model of a family, with a calibration and tokens that it has not seen."""

    @cache
    def made(family: str) -> Path:
        out, draw = folder / family, np.random.default_rng(7)
        execute(plan_synth(GEOMETRIES[family], 1, model=family, uneven=1.0), str(out))
        np.save(folder / "seen.npy", draw.integers(1, 250, 128))
        np.save(folder / "ids.npy", draw.integers(1, 250, 128))
        flow = folder / f"{family}.gguf"
        answer("evaluate", out, "--tokens", folder / "seen.npy", "--calibrate", flow)
        return out

    return made


@pytest.fixture(scope="module")
def quantized(model: Made, folder: Path) -> Made:
    """Quantizes a family's model, once for all tests that ask for these options."""

    @cache
    def made(family: str, *options: str) -> Path:
        out = folder / f"{family}-{abs(hash(options))}.gguf"
        flow = ("--importance", str(folder / f"{family}.gguf"))
        found = answer("quantize", model(family), *TO_GGUF, *flow, "-o", out, *options)
        assert found["status"] == "ok", found["errors"]
        return out

    return made


def types(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


def allocation(path: Path) -> dict[str, Any]:
    document = json.loads(path.with_suffix(".gguf.grokpack.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = document["account"]["allocation"]
    return found


@pytest.mark.parametrize("family", GEOMETRIES)
def test_it_is_nearer_than_the_mix_of_equal_size(
    model: Made, quantized: Made, folder: Path, family: str
) -> None:
    """On tokens that the calibration has not seen."""
    mix = quantized(family, "--type", "q4_k_m")
    size = mix.stat().st_size
    chosen = quantized(family, "--size", f"{size}B")
    assert chosen.stat().st_size <= size
    even = ("--type", "q4_k", "--embedding", "bf16")
    arguments: list[str | Path] = ["--against", mix, "--against", chosen]
    arguments += ["--against", quantized(family, *even)]
    tokens = folder / "ids.npy"
    rows = answer("evaluate", model(family), "--tokens", tokens, *arguments)["data"]["candidates"]
    kl = [row["kl"]["mean"] for row in rows]
    assert kl[1] < 0.8 * kl[0]
    assert kl[1] < 0.8 * kl[2]


def test_the_policy_that_it_saves_gives_the_same_bytes(quantized: Made, folder: Path) -> None:
    policy = folder / "policy.toml"
    chosen = quantized("grok-1", "--avg-bits", "4.4", "--save-policy", str(policy))
    again = quantized("grok-1", "--policy", str(policy))
    assert again.read_bytes() == chosen.read_bytes()
    assert len(set(types(chosen).values()) - {"F32"}) > 2
    assert policy.read_text(encoding="utf-8") == allocation(chosen)["policy"]


@pytest.mark.parametrize("bits", [3.2, 4.4, 7.0])
def test_size_is_held_and_used(quantized: Made, model: Made, bits: float) -> None:
    chosen = quantized("grok-1", "--avg-bits", str(bits))
    parameters = open_checkpoint(str(model("grok-1"))).model.parameters().total
    assert 0.98 * bits < 8 * chosen.stat().st_size / parameters <= bits
    found = allocation(chosen)
    assert found["least_error"] <= found["relative_error"] < 1.1 * found["least_error"]


def test_more_bits_leave_less_error(quantized: Made) -> None:
    errors = [
        allocation(quantized("grok-1", "--avg-bits", bits))["relative_error"]
        for bits in ("3.2", "4.4", "7.0")
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_compressed_tensors_has_wider_codes_where_they_count(
    model: Made, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that engines fuse are alike, and the policy gives the same folder."""
    monkeypatch.setenv(dispatch.VARIABLE, "numpy")
    out, policy = folder / "int", folder / "int.toml"
    size = ("--avg-bits", "6.5", "--group", "32", "--save-policy", policy)
    found = answer("quantize", model("grok-1"), "--for", "transformers", *size, "-o", out)
    assert found["status"] == "ok", found["errors"]
    forms = {n: own["form"] for n, own in found["data"]["allocation"]["tensors"].items()}
    assert {"int4", "int8"} <= set(forms.values())
    fused = [
        {forms[f"transformer/decoder_layer_{n}/multi_head_attention/{name}/w"] for name in parts}
        for n in range(2)
        for parts in [("query", "key", "value")]
    ]
    assert [len(own) for own in fused] == [1, 1]
    parameters = open_checkpoint(str(model("grok-1"))).model.parameters().total
    files = [path.stat().st_size for path in out.glob("*.safetensors")]
    assert 6 < 8 * sum(files) / parameters <= 6.5
    again = folder / "int-again"
    answer("quantize", model("grok-1"), "--policy", policy, "-o", again)
    for path in out.glob("*.safetensors"):
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_a_weight_that_a_rule_decides_is_left_to_it(quantized: Made, folder: Path) -> None:
    policy = folder / "values.toml"
    policy.write_text('[[tensors]]\nname = "value/w"\ntype = "q5_1"\n', encoding="utf-8")
    kept = ("--keep", "decoder_layer_1/multi_head_attention/linear")
    found = types(quantized("grok-1", "--avg-bits", "5", "--policy", str(policy), *kept))
    assert {found[f"blk.{n}.attn_v.weight"] for n in range(2)} == {"Q5_1"}
    assert found["blk.1.attn_output.weight"] == "BF16"
    assert found["blk.0.attn_output.weight"] != "BF16"


def test_a_dry_run_shows_the_mix_and_the_error(model: Made, folder: Path) -> None:
    arguments: list[str | Path] = ["quantize", model("grok-1"), *TO_GGUF, "--avg-bits", "4.4", "-n"]
    data = answer(*arguments, "-o", folder / "dry.gguf")["data"]
    said = "\n".join(data["notes"])
    assert "expert chosen at" in said
    assert "attention chosen at" in said
    assert "no choice of this size is below" in said
    assert data["allocation"]["limit_bytes"] >= data["writes_bytes"]


def test_shares_fall_as_the_stream_grows(model: Made) -> None:
    """With norms alike an early layer is more of the stream than a late one."""
    source = open_checkpoint(str(model("grok-2")))
    shares = error_shares(source, ArrayReader(source))
    assert set(shares) == {
        e.name for e in source.model.tensors() if e.rule.quantized or e.rule.by_token
    }
    half = [shares[source.model.tensor("query", n).name] for n in range(2)]
    assert 1 > half[0] > 0
    together = [source.model.tensor(part, 0).name for part in ("mlp_down", "expert_down")]
    assert shares[together[0]] == shares[together[1]]


def test_errors_of_a_small_weight_are_those_of_all_of_it(model: Made) -> None:
    source = open_checkpoint(str(model("grok-1")))
    tensor = source.tensors[source.model.tensor("query", 0).name]
    reader = ArrayReader(source)

    def half(sample: sampled_errors.WeightSample, _: object) -> np.ndarray:
        return sample.exact() / 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampled_errors, "SAMPLED", 1 << 30)
        found = sampled_errors.measure(SourceWeight(tensor), {"half": half}, reader, "numpy")
    assert found.weights == tensor.values.elements
    assert found.relative["half"] == 0.25


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--avg-bits", "2"), "GP309", "least"),
        (("--avg-bits", "4", "--size", "9MB"), "GP304", "same thing"),
        (("--avg-bits", "4", "--type", "q4_k"), "GP304", "--type"),
        (("--avg-bits", "4", "--bits", "4"), "GP304", "--bits"),
        (("--type", "q4_k", "--save-policy", "p.toml"), "GP304", "--avg-bits"),
        (("--to", "gptq", "--avg-bits", "4"), "GP304", "one form"),
    ],
)
def test_what_cannot_be_chosen_is_refused(
    model: Made, tmp_path: Path, options: tuple[str, ...], code: str, words: str
) -> None:
    arguments = ["quantize", str(model("grok-1")), *TO_GGUF, "-o", str(tmp_path / "x.gguf")]
    done = CliRunner().invoke(app, [*arguments, *options])
    assert done.exit_code == 2
    assert f"[{code}]" in done.stderr
    assert words in done.stderr
    assert not [*tmp_path.iterdir()]
