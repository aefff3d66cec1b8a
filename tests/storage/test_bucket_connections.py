"""Connections of botocore that fail: for good, or for now."""

from __future__ import annotations

import socket
import threading
from base64 import b64decode
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from grokpack.core.errors import GrokpackError
from grokpack.storage.buckets.bucket_client import new_client
from grokpack.storage.buckets.bucket_sink import BucketSink
from grokpack.storage.http import botocore_failures, connections, retry_policy, services
from grokpack.storage.urls import parse
from tests.support.servers import Answer, Asked, Server, impatient, serving
from tests.support.tls import certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OUT = "s3://grok/out/model.gguf"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    monkeypatch.setattr(botocore_failures, "reached", threading.Event())


def failure(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GrokpackError:
    """Error of a question to a bucket."""
    monkeypatch.setenv("GROKPACK_S3_ENDPOINT", endpoint)
    services.forget()
    with pytest.raises(GrokpackError) as caught:
        BucketSink("s3://grok/out", str(tmp_path)).size_of(OUT)
    return caught.value


def test_an_untrusted_certificate_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem, context = certificate(tmp_path)
    with serving(tmp_path, context) as server:
        error = failure(server.url, tmp_path, monkeypatch)
        assert error.code == "GP243"
        assert "certificate" in str(error.facts)
        assert "SSL_CERT_FILE" in str(error.hint)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        services.forget()
        assert BucketSink("s3://grok/out", str(tmp_path)).size_of(OUT) is None


def test_a_name_that_does_not_resolve_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Mock(side_effect=socket.gaierror(-2, "Name or service not known"))
    monkeypatch.setattr(socket, "getaddrinfo", looked)
    error = failure("http://bucket.invalid", tmp_path, monkeypatch)
    assert error.code == "GP243"
    assert "bucket.invalid does not resolve" in str(error.facts)
    assert looked.call_count == 1


def test_a_name_that_has_resolved_before_is_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    botocore_failures.reached.set()
    monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 2)
    looked = Mock(side_effect=socket.gaierror(-2, "Name or service not known"))
    monkeypatch.setattr(socket, "getaddrinfo", looked)
    assert failure("http://bucket.invalid", tmp_path, monkeypatch).code == "GP221"
    assert looked.call_count == 2


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Server]:
    """Proxy that answers for a bucket's server, if it is told who asks."""

    def route(asked: Asked) -> Answer:
        return Answer(404 if "proxy-authorization" in asked.headers else 407, {})

    with serving(tmp_path) as proxy:
        proxy.route = route
        connections.forget()
        yield proxy
    connections.forget()


def test_a_proxy_that_wants_a_password_is_named(
    proxy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy.url)
    error = failure("https://bucket.invalid", tmp_path, monkeypatch)
    assert error.code == "GP243"
    assert f"the proxy {proxy.url} answered 407" in str(error.facts)


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_proxies_of_reading_count_for_writing(
    variable: str, proxy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROKPACK_S3_ENDPOINT", "http://bucket.invalid")
    monkeypatch.setenv(variable, proxy.url.replace("://", "://user:p%40ss@"))
    services.forget()
    assert BucketSink("s3://grok/out", str(tmp_path)).size_of(OUT) is None
    assert [asked.headers["host"] for asked in proxy.asked] == ["bucket.invalid"]
    login = b64decode(proxy.asked[0].headers["proxy-authorization"].removeprefix("Basic "))
    assert login == b"user:p@ss"


def test_a_proxy_that_botocore_cannot_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROKPACK_S3_ENDPOINT", "http://bucket.invalid")
    monkeypatch.setenv("all_proxy", "socks5h://127.0.0.1:1080")
    services.forget()
    connections.forget()
    with pytest.raises(GrokpackError, match="no SOCKS proxy") as caught:
        BucketSink("s3://grok/out", str(tmp_path))
    connections.forget()
    assert caught.value.code == "GP224"


@pytest.mark.parametrize(
    ("endpoint", "chosen", "calculated"),
    [
        (None, None, "when_supported"),
        ("http://127.0.0.1:9", None, "when_required"),
        ("http://127.0.0.1:9", "when_supported", "when_supported"),
    ],
)
def test_only_amazon_gets_checksums_that_nobody_chose(
    endpoint: str | None, chosen: str | None, calculated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"GROKPACK_S3_ENDPOINT": endpoint, "AWS_REQUEST_CHECKSUM_CALCULATION": chosen}
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, text in {**wanted, **keys}.items():
        if text:
            monkeypatch.setenv(name, text)
    services.forget()
    client = new_client(services.bucket(parse("s3://grok")))
    assert client.meta.config.request_checksum_calculation == calculated
