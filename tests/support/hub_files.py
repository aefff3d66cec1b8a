"""Files of a model as Hugging Face's hub serves them: by redirects, at last to another host."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tests.support.servers import Answer, Asked, Server

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "me/before", "me/mine"
"""Names of the repository, until it was renamed and since."""
MOST_USES = 1
"""Uses of a signed address, after which it has expired as if time had passed."""


@dataclass(slots=True)
class HubFiles:
    """A hub and its content network.

    Attributes:
        root: Folder of the repository's files.
        site: Server of the hub, which lists files and redirects.
        network: Server of their bytes, at addresses that are signed and expire.
        token: What the hub wants to see; the network refuses whoever sends it along.
        uses: How often each signature was used.
    """

    root: Path
    site: Server
    network: Server
    token: str
    uses: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.site.route, self.network.route = self._answer, self._bytes

    def _answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401, {"X-Error-Code": "GatedRepo"})
        if OLD in asked.path:
            query = f"?{asked.query}" if asked.query else ""
            return Answer(307, {"Location": f"/{asked.path.replace(OLD, NEW, 1)}{query}"})
        listing = f"api/models/{NEW}/tree/main"
        if asked.path.startswith(listing):
            return self._rows(asked.path.removeprefix(listing), deep="recursive" in asked.query)
        path = asked.path.removeprefix(f"{NEW}/resolve/main/")
        if not (self.root / path).is_file():
            return Answer(404, {"X-Error-Code": "EntryNotFound"})
        signature = len(self.uses)
        self.uses[str(signature)] = 0
        location = f"{self.network.url}/{path}?Signature={signature}"
        return Answer(302, {"Location": location}, b"Found. Redirecting")

    def _rows(self, below: str, *, deep: bool) -> Answer:
        folder = self.root / below.lstrip("/")
        rows = [
            {
                "type": "file" if path.is_file() else "directory",
                "path": path.relative_to(self.root).as_posix(),
                "size": path.stat().st_size,
            }
            for path in sorted(folder.rglob("*") if deep else folder.glob("*"))
        ]
        return Answer(200, {}, json.dumps(rows).encode())

    def _bytes(self, asked: Asked) -> Answer:
        if "authorization" in asked.headers:
            return Answer(400, {}, b"<Code>InvalidArgument</Code>")
        (signature,) = parse_qs(asked.query)["Signature"]
        self.uses[signature] += 1
        if self.uses[signature] > MOST_USES:
            return Answer(403, {}, b"<Code>AccessDenied</Code>")
        return self.network.file(asked)
