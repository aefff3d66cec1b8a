"""Folders of packed weights whose arrays and settings tests change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from grokpack.checkpoint.open_checkpoint import survey
from grokpack.core.errors import GrokpackError

Arrays = dict[str, np.ndarray]
FORMS: dict[str, dict[str, Any]] = {
    "gptq": {"to": "gptq", "group": "64"},
    "gptq 8": {"to": "gptq", "bits": 8, "group": "64"},
    "packed": {"to": "compressed-tensors", "group": "64"},
    "packed with zeros": {"to": "compressed-tensors", "group": "64", "symmetric": False},
    "w8a8": {"to": "w8a8-int8", "bits": 8},
}


def change(folder: Path, edit: Callable[[Arrays], object], **metadata: str) -> None:
    """Load every file with the reference library, change its arrays, save them."""
    for path in sorted(folder.glob("*.safetensors")):
        arrays = load_file(path)
        edit(arrays)
        save_file(arrays, path, {"format": "pt", **metadata})
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)


def settings(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())["quantization_config"]
    return found


def say(folder: Path, how: object, place: str = "config.json") -> None:
    """Say how weights are packed in one place, and leave it out of config.json elsewhere."""
    config = json.loads((folder / "config.json").read_text())
    config.pop("quantization_config", None)
    if place == "config.json":
        config["quantization_config"] = how
    elif place in ("compression_config", "text_config"):
        config |= {place: how if place == "compression_config" else {"quantization_config": how}}
    else:
        (folder / place).write_text(json.dumps(how))
    (folder / "config.json").write_text(json.dumps(config))


def refusal(folder: Path) -> GrokpackError:
    with pytest.raises(GrokpackError) as caught:
        survey(str(folder))
    return caught.value
