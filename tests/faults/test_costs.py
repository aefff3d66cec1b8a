"""Small inputs that claim much, through each command: read or refused at little cost."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.faults import shapes
from tests.faults.limited import Outcome, run_limited
from tests.support.checkpoints import synthesize
from tests.support.fuzzing import ALLOWED, TINY

pytestmark = pytest.mark.faults

HEADERS_BYTES = 256 << 20
"""For what only reads headers, indices, manifests and lists; the interpreter is in it."""
VALUES_BYTES = 512 << 20
SECONDS = 60.0  # three times what may be taken: the machine has other work
EMBEDDING = shapes.EMBEDDING

COMMANDS: dict[str, tuple[list[str], int]] = {
    "verify": (["verify", "IN", "--data"], HEADERS_BYTES),
    "inspect": (["inspect", "IN", "--tree"], HEADERS_BYTES),
    "manifest": (["manifest", "IN", "-o", "OUT"], VALUES_BYTES),
    "values": (["verify", "IN", "--values"], VALUES_BYTES),
    "stats": (["inspect", "IN", "--stats"], VALUES_BYTES),
    "extract": (["inspect", "IN", EMBEDDING, "--extract", "OUT.npy"], VALUES_BYTES),
    "diff": (["diff", "IN", "HELD"], VALUES_BYTES),
    "convert": (["convert", "IN", "--to", "ckpt-0", "-o", "OUT"], VALUES_BYTES),
    "gguf": (["convert", "IN", "--to", "gguf", "-o", "OUT.gguf"], VALUES_BYTES),
    "reshard": (["reshard", "IN", "--tp", "2", "-o", "OUT"], VALUES_BYTES),
    "evaluate": (["evaluate", "HELD", "--tokens", "IDS", "--against", "IN"], VALUES_BYTES),
    "quantize": (["quantize", "IN", "--group", "32", "-o", "OUT"], VALUES_BYTES),
}


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held")
    synthesize(folder / "ckpt-0", TINY)
    np.save(folder / "ids.npy", np.arange(1, 9))
    return shapes.prepare(folder)


def ended(words: list[str], said: Path, memory_bytes: int) -> Outcome:
    """How a command ended, which must be in order and within its limits."""
    program = [sys.executable, "-m", "grokpack", *words]
    outcome = run_limited(program, said, memory_bytes=memory_bytes, seconds=SECONDS)
    text = said.read_text(errors="replace")[-2000:]
    assert outcome.status in ALLOWED, (words, outcome, text)
    assert "Traceback" not in text
    assert outcome.peak_bytes < memory_bytes, (words, outcome, text)
    return outcome


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_no_command_pays_what_an_input_claims(shape: str, held: Path, tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    source = shapes.SHAPES[shape](held, tmp_path / "case", 1.0)
    for words, memory_bytes in COMMANDS.values():
        places = {"IN": str(source), "HELD": str(held / "ckpt-0"), "IDS": str(held / "ids.npy")}
        out = str(tmp_path / "out")
        command = [places.get(word, word.replace("OUT", out)) for word in words]
        ended(command, tmp_path / "said", memory_bytes)
        for path in tmp_path.glob("out*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("name", shapes.LISTS)
@pytest.mark.parametrize("scale", [1.0, 0.3, 0.1])
def test_no_list_of_checksums_costs_what_it_claims(
    name: str, scale: float, held: Path, tmp_path: Path
) -> None:
    path = tmp_path / "list"
    path.write_bytes(shapes.LISTS[name](scale))
    words = ["verify", str(held / "hf"), "--data", "--against", str(path)]
    ended(words, tmp_path / "said", HEADERS_BYTES)


@pytest.mark.parametrize("name", shapes.POLICIES)
def test_no_policy_costs_what_it_claims(name: str, held: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(shapes.POLICIES[name](1.0))
    source, out = str(held / "ckpt-0"), str(tmp_path / "out")
    words = ["quantize", source, "--group", "32", "--policy", str(path), "-o", out]
    ended(words, tmp_path / "said", VALUES_BYTES)
