"""Shards of a Hugging Face folder, found and rewritten."""

from __future__ import annotations

from pathlib import Path

INDEX = "model.safetensors.index.json"


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))
