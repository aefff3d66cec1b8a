"""Identity: each request says that grokpack asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grokpack
from grokpack.checkpoint.open_checkpoint import survey
from grokpack.storage.buckets.bucket_client import new_client
from grokpack.storage.http.aws_credentials import AwsCredentials
from grokpack.storage.http.bucket import S3Bucket

if TYPE_CHECKING:
    from tests.support.servers import Server

AGENT = f"grokpack/{grokpack.__version__}"


def agents(server: Server) -> set[str | None]:
    return {asked.headers.get("user-agent") for asked in server.asked}


def test_reads_say_who_asks(served: Server) -> None:
    assert survey(f"{served.url}/grok").whole
    assert agents(served) == {AGENT}


def test_writes_to_buckets_say_who_asks() -> None:
    nobody = AwsCredentials(anonymous=True)
    client = new_client(S3Bucket("grok", nobody, endpoint="http://127.0.0.1:1"))
    assert client.meta.config.user_agent.startswith(AGENT)
