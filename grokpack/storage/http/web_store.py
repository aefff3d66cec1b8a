"""Chunked stores behind web addresses, as TensorStore is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from grokpack.core.version import AGENT

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/~%:@!$&'()*+,;="  # characters that a web address may hold unquoted


def web_store(url: str, below: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return TensorStore's spec of a path below a web address."""
    headers = {"User-Agent": f"{AGENT} tensorstore", **headers}
    return {
        "driver": "http",
        "base_url": f"{url.rstrip('/')}/{quote(below, safe=PATH)}",
        "headers": [f"{name}: {text}" for name, text in headers.items()],
    }
