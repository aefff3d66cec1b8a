"""A release of Grok-2 that others made, with what they know of it; its README tells how."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import deserialize

from tests.support import packed_formula

GOLDEN = Path(__file__).parents[1] / "data" / "grok2-tiny"
RELEASE = GOLDEN / "release"


def listed() -> dict[str, dict[str, Any]]:
    """Dtype, shape and sha256 of each tensor of the merged model."""
    rows = json.loads((GOLDEN / "merged_names.json").read_text())["tensors"]
    return {
        name: {key: row[key] for key in ("dtype", "shape", "sha256")} for name, row in rows.items()
    }


def joined(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor as the merged model has it, slices of ranks joined, matrices `[out, in]`."""
    found = packed_formula.arrays(folder)
    names = {name.partition("@")[0] for name in found}
    return {
        name: np.concatenate(
            [found[key] for key in sorted(found) if key.partition("@")[0] == name],
            axis=1 if ".w2." in name else 0,
        )
        for name in names
    }


@cache
def released() -> dict[str, np.ndarray]:
    """Every tensor of the release, joined, in float64."""
    return {name: values.astype(np.float64) for name, values in joined(RELEASE).items()}


def hashed(folder: Path) -> dict[str, dict[str, Any]]:
    """Likewise of the tensors in a folder's files, as the safetensors library reads them."""
    return {
        name: {
            "dtype": row["dtype"],
            "shape": row["shape"],
            "sha256": hashlib.sha256(row["data"]).hexdigest(),
        }
        for path in folder.glob("*.safetensors")
        for name, row in deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    }


def prompts() -> list[np.ndarray]:
    """Tokens of each prompt; id 0 is one of them."""
    return list(np.load(GOLDEN / "tokens.npy"))


def flip_bit(folder: Path, name: str) -> None:
    """Change the lowest bit of a tensor's first value, in the first file that has it."""
    for path in sorted(folder.glob("*.safetensors")):
        data = bytearray(path.read_bytes())
        begin = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:begin])
        if name in header:
            data[begin + header[name]["data_offsets"][0]] ^= 1
            path.write_bytes(data)
            return
    raise LookupError(name)
