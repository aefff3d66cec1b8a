"""Servers behind certificates, and names that no server has."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.storage.http import connections, http_backend, redirects, retry_policy
from tests.support.checkpoints import reshard, tree
from tests.support.server_faults import drop, only_payload
from tests.support.servers import Answer, Asked, Server, serving
from tests.support.tls import certificate

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def secure(served: Server, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """Server over TLS, and its certificate, which nobody trusts."""
    pem, context = certificate(tmp_path)
    with serving(served.root, context) as server:
        yield server, pem
    connections.forget()


def test_https_is_read_where_the_certificate_is_trusted(
    served: Server,
    secure: tuple[Server, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, pem = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    connections.forget()
    limits = RunOptions()
    plan = plan_reshard(open_checkpoint(f"{server.url}/grok"), 2)

    def silent(_: Asked, answer: Answer) -> None:
        answer.stall = 100
        limits.stop.set()

    server.fault = only_payload(silent)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(tmp_path / "out"), limits)
    assert caught.value.code == "GP403"
    server.fault = only_payload(drop, every=5)
    execute(plan, str(tmp_path / "out"))
    reshard(served.root / "grok", tmp_path / "clean", 2)
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_bundles_of_other_programs_are_trusted_as_well(
    name: str, secure: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, pem = secure
    monkeypatch.setenv(name, str(pem))
    connections.forget()
    assert http_backend.size(f"{server.url}/grok/config.json")


def test_an_untrusted_certificate_is_told_at_once_with_the_whole_reason(
    secure: tuple[Server, Path],
) -> None:
    connections.forget()
    with pytest.raises(GrokpackError) as caught:
        survey(f"{secure[0].url}/grok")
    assert (caught.value.code, caught.value.exit_status) == ("GP243", 3)
    assert "self-signed certificate" in str(caught.value.facts).replace(
        "self signed", "self-signed"
    )
    assert "SSL_CERT_FILE" in str(caught.value.hint)


def test_a_certificate_of_another_host_is_told_at_once(
    secure: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, pem = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    connections.forget()
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(f"{server.url.replace('127.0.0.1', 'localhost')}/grok/config.json")
    assert caught.value.code == "GP243"
    assert "not valid for" in str(caught.value.facts)


@pytest.mark.parametrize(
    "name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
)
def test_a_bundle_that_is_not_there_is_named(
    name: str, served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/nowhere.pem")
    connections.forget()
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(f"{served.url}/grok/config.json")
    assert caught.value.exit_status == 2
    assert name in caught.value.what


def test_several_folders_of_certificates_are_one_setting(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", f"/nowhere:{tmp_path}")
    connections.forget()
    assert http_backend.size(f"{served.url}/grok/config.json")


def test_a_bundle_without_certificates_is_named(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "empty.pem"))
    connections.forget()
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(f"{served.url}/grok/config.json")
    assert "REQUESTS_CA_BUNDLE" in caught.value.what


def test_a_server_without_tls_is_told_at_once(served: Server) -> None:
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(f"{served.url.replace('http', 'https')}/grok/config.json")
    assert caught.value.code == "GP243"
    assert "speaks no TLS" in str(caught.value.facts)


@pytest.mark.parametrize("pause_s", [0, 0.1])
def test_a_server_that_wants_a_certificate_of_its_clients_is_told_at_once(
    pause_s: float, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a pause the server has hung up before the request is sent, so that sending fails."""
    pem, context = certificate(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    connect = connections.AbortableConnection.connect

    def connect_late(line: connections.AbortableConnection) -> None:
        connect(line)
        time.sleep(pause_s)

    monkeypatch.setattr(connections.AbortableConnection, "connect", connect_late)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    connections.forget()
    with serving(served.root, context) as server, pytest.raises(GrokpackError) as caught:
        http_backend.size(f"{server.url}/grok/config.json")
    assert caught.value.code == "GP243"
    assert "alert" in str(caught.value.facts)


def test_a_name_that_does_not_resolve_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = Mock(side_effect=socket.gaierror(-2, "Name or service not known"))
    monkeypatch.setattr(socket, "getaddrinfo", looked)
    with pytest.raises(GrokpackError) as caught:
        http_backend.size("http://weights.invalid/grok/config.json")
    assert (caught.value.code, caught.value.exit_status) == ("GP243", 3)
    assert "weights.invalid does not resolve: Name or service not known" in str(caught.value.facts)
    assert looked.call_count == 1


def test_a_name_that_has_resolved_before_is_looked_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name server may fail for a moment in a run of days."""
    monkeypatch.setattr(redirects, "answered", {"weights.invalid": 1.0})
    monkeypatch.setattr(socket, "getaddrinfo", Mock(side_effect=socket.gaierror(-2, "unknown")))
    monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 2)
    with pytest.raises(GrokpackError) as caught:
        http_backend.size("http://weights.invalid/grok/config.json")
    assert caught.value.code == "GP221"
