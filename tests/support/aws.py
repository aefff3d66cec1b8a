"""Settings of AWS for tests, and requests as a server saw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.storage.http import http_backend, services

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Asked, Server

OBJECT = "s3://grok/config.json"
ROLE = """
[profile work]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = own
region = eu-west-3
"""
PROCESS = '{"Version": 1, "AccessKeyId": "AKIAOWN", "SecretAccessKey": "own-secret"}'
OWN = "[own]\naws_access_key_id = AKIAOWN\naws_secret_access_key = own-secret\n"


def setting(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str = "",
    credentials: str = "",
    **variables: str,
) -> None:
    """Write AWS's two files, and set variables."""
    for name, text in (("CONFIG", config), ("SHARED_CREDENTIALS", credentials)):
        (folder / name).write_text(text, encoding="utf-8")
        monkeypatch.setenv(f"AWS_{name}_FILE", str(folder / name))
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    forget()


def forget() -> None:
    services.forget()
    storage.forget("s3://grok")


def keys_of(asked: Asked) -> str | None:
    """Return the name of the keys that a request is signed with."""
    _, _, signer = asked.headers.get("authorization", "").partition("Credential=")
    return signer.partition("/")[0] or None


def signers(server: Server) -> list[str | None]:
    return [keys_of(asked) for asked in server.asked if asked.path.startswith("grok")]


def failure() -> GrokpackError:
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(OBJECT)
    return caught.value
