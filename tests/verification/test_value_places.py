"""Bad values of matrices that files hold transposed, by expert or by rank: the file is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from grokpack.checkpoint.open_checkpoint import survey
from grokpack.report.text import verification_text
from grokpack.verification.verify_structure import verify_structure
from grokpack.verification.verify_values import verify_values
from tests.support.checkpoints import GOLDEN
from tests.support.conversions import convert
from tests.support.grok2 import RELEASE


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("pytorch_model-00007-TP-005.safetensors", "1.block_sparse_moe.experts.6.w2.weight"),
        ("pytorch_model-00006-TP-003.safetensors", "0.block_sparse_moe.experts.2.w1.weight"),
        ("pytorch_model-00008-TP-007.safetensors", "0.block_sparse_moe.experts.0.w3.weight"),
    ],
)
def test_the_file_of_a_rank_is_named_with_its_row_and_column(
    tmp_path: Path, name: str, ending: str
) -> None:
    """The first rank's was, whichever rank's file held the value."""
    folder = shutil.copytree(RELEASE, tmp_path / "release")
    arrays = load_file(folder / name)
    key = next(key for key in arrays if key.endswith(ending))
    row, column = arrays[key].shape[0] - 2, arrays[key].shape[1] - 1
    arrays[key][row, column] = np.nan
    save_file(arrays, folder / name, {"format": "pt"})
    (finding,) = verify_values(verify_structure(survey(folder))).findings
    assert (finding.code, finding.file) == ("GP120", name)
    rank = int(name.partition("-TP-")[2][:3])
    if ".w2." in ending:  # cut by columns
        column += rank * arrays[key].shape[1]
    else:
        row += rank * arrays[key].shape[0]
    expert = ending.split(".")[3]
    assert finding.found == f"1 values: expert {expert}, row {row}, column {column}"


def test_what_could_not_be_read_is_not_said_to_be_right(tmp_path: Path) -> None:
    """Where a tensor of a GGUF file is missing, none is read."""
    path = tmp_path / "m.gguf"
    convert(GOLDEN, path, "gguf", type="f32", tokenizer="none")
    path.write_bytes(path.read_bytes().replace(b"blk.0.attn_k.weight", b"blk.0.attn_X.weight"))
    verdict = verify_values(verify_structure(survey(path)))
    assert verdict.checks["values"] == "skipped"
    assert "ok  values" not in verification_text.render(verdict, 0)
