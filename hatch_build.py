"""Metadata that the package index shows: links, and README with links that work there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://|#)([^)\s]+)\)")
_PICTURE = re.compile(r"!\[([^\]]+)\]\((?!https?://)([^)\s]+)\)")
_VERSION = "grokpack/core/version.py"


class LinkedMetadata(MetadataHookInterface):
    """Hook that adds `urls` and `readme` from the one address of the repository."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add them; without an address there are no links to what lies beside README."""
        repository = _repository(Path(self.root, _VERSION))
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": linked(text, repository)}
        metadata["urls"] = urls(repository)


def _repository(path: Path) -> str:
    found = re.search(r'^REPOSITORY = "([^"]*)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def linked(text: str, repository: str) -> str:
    """Return Markdown whose links are absolute; without an address, links are plain text."""
    if not repository:
        return _LINK.sub(r"\1", _PICTURE.sub("", text))
    text = _PICTURE.sub(rf"![\1]({repository}/raw/main/\2)", text)
    return _LINK.sub(rf"[\1]({repository}/blob/main/\2)", text)


def urls(repository: str) -> dict[str, str]:
    """Return the links of a package."""
    if not repository:
        return {}
    below = "blob/main"
    return {
        "Repository": repository,
        "Documentation": f"{repository}/{below}/docs/index.md",
        "Changelog": f"{repository}/{below}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }
