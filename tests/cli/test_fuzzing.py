"""What makes no sense is refused with a code: cases of `tests.support.fuzzing`, and others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.checkpoints import reshard, synthesize
from tests.support.conversions import convert
from tests.support.fuzzing import ALLOWED, TINY, cases, status_of

FEW = 60  # of cases that are run here; `make fuzz` runs thousands


def test_nothing_that_is_mutated_ends_in_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")  # no crash file is left behind
    wrong = [
        (what, status, said)
        for what, status, said in cases(FEW, seed=0)
        if status not in ALLOWED or "Traceback" in said
    ]
    assert not wrong, wrong[0]


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("forms")
    origin = synthesize(folder / "ckpt-0", TINY)
    convert(origin, folder / "hf", "hf")
    reshard(origin, folder / "ranks", 2)
    return {name: folder / name for name in ("ckpt-0", "hf", "ranks")}


@pytest.mark.parametrize("form", ["ckpt-0", "hf", "ranks"])
@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("num_layers", "num_hidden_layers"), 10**12),
        (("vocab_size",), 10**15),
        (("num_q_heads", "num_attention_heads"), 10**4000),
        (("key_size", "head_dim"), 10**12),
        (("sequence_len", "max_position_embeddings"), 10**15),
        (("sequence_len", "max_position_embeddings"), -1),
        (("num_selected_experts", "num_experts_per_tok"), 0),
        (("rms_norm_eps",), 10**400),
        (("rope_theta",), 1e308),
    ],
)
def test_absurd_numbers_in_a_config_are_findings(
    forms: dict[str, Path], tmp_path: Path, form: str, keys: tuple[str, ...], value: float
) -> None:
    source = shutil.copytree(forms[form], tmp_path / "in")
    path = source / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict.fromkeys(keys, value)))
    status, said = status_of(["verify", str(source)])
    assert (status, "GP130" in said) == (1, True), said
    for words in (["convert", "--to", "hf"], ["reshard", "--tp", "1"]):
        out = str(tmp_path / "out")
        status, said = status_of([words[0], str(source), *words[1:], "--out", out])
        assert status == 3, said
        assert not Path(out).exists()
    status, said = status_of(["inspect", str(source)])
    assert status in ALLOWED, said


@pytest.mark.parametrize("value", ['"many"', "[64]", "{}", "null", "true", "1.5", "-64", "NaN"])
def test_what_is_no_number_is_as_if_it_were_not_there(
    forms: dict[str, Path], tmp_path: Path, value: str
) -> None:
    source = shutil.copytree(forms["ckpt-0"], tmp_path / "in")
    path = source / "config.json"
    config = json.loads(path.read_text())
    for key in config:
        if key != "key_size":
            config[key] = "VALUE"
    path.write_text(json.dumps(config).replace('"VALUE"', value))
    for words in (["verify"], ["inspect"], ["convert", "--to", "hf", "--dry-run"]):
        status, said = status_of([words[0], str(source), *words[1:]])
        assert status in (0, 1, 3), said
