"""Search for the config.json of a checkpoint's folder."""

from __future__ import annotations

import os
from typing import Any

from grokpack import storage
from grokpack.core.errors import MalformedInput, Place, revised
from grokpack.models.config_json import FILE


def find(folders: list[str]) -> tuple[dict[str, Any], str | None]:
    """Return the first config.json in these folders and its path; empty if there is none.

    Raises:
        GrokpackError: GP209 if the file is not a JSON object.
    """
    for folder in folders:
        path = os.path.join(folder, FILE)
        if storage.exists(path):
            return _read(path), path
    return {}, None


def _read(path: str) -> dict[str, Any]:
    """Read a config.json; where it is none, say what to do."""
    hint = "fetch it again from where the weights came from; it may have been cut short"
    try:
        config = storage.read_json(path)
    except MalformedInput as error:
        raise revised(error, hint=hint) from error
    if not isinstance(config, dict):
        raise MalformedInput("config.json is not a JSON object", Place(path), hint=hint)
    return config
