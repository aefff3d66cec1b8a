"""Servers that cannot be read, and those behind certificates and proxies: each is named or read."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.storage.http import connections
from tests.support.checkpoints import reshard, tree
from tests.support.server_faults import drop, only_payload
from tests.support.servers import Answer, Asked, Server, serving


def test_nothing_there_says_what_was_looked_for(served: Server) -> None:
    with pytest.raises(GrokpackError) as caught:
        survey(f"{served.url}/elsewhere")
    assert caught.value.code == "GP201"
    assert ("looked for", "tensor00000_000") in caught.value.facts


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        url = server.url
    with pytest.raises(GrokpackError) as caught:
        survey(f"{url}/grok")
    assert caught.value.code == "GP221"


@pytest.mark.parametrize(
    ("name", "code"), [("tensor00005_000", 401), ("tensor00005_000", 403), ("config.json", 401)]
)
def test_a_file_that_alone_is_refused_is_not_missing(served: Server, name: str, code: int) -> None:
    """403 for a config may mean that there is none: buckets that may not be listed say that."""

    def refuse(asked: Asked, answer: Answer) -> None:
        if asked.path.endswith(f"/{name}"):
            answer.status, answer.body, answer.headers = code, b"", {}

    served.fault = refuse
    with pytest.raises(GrokpackError) as caught:
        survey(f"{served.url}/grok")
    assert caught.value.code == "GP222"
    assert name in str(caught.value)


def test_access_that_is_refused_says_so(served: Server) -> None:
    def refuse(_: Asked, answer: Answer) -> None:
        answer.status, answer.body, answer.headers = 403, b"", {}

    served.fault = refuse
    with pytest.raises(GrokpackError) as caught:
        survey(f"{served.url}/grok")
    assert caught.value.code == "GP222"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/grok",
        "https:///grok",
        "https://user:word@host/grok",
        "https://host/grok?x=1",
        "https://host/../grok",
        "https://host/gr\nok",
        "hf://xai-org",
    ],
)
def test_a_url_that_would_be_misunderstood_is_refused(url: str) -> None:
    with pytest.raises(GrokpackError) as caught:
        survey(url)
    assert caught.value.code == "GP224"


def test_an_output_at_a_url_is_refused(served: Server) -> None:
    with pytest.raises(GrokpackError) as caught:
        execute(plan_reshard(open_checkpoint(str(served.root / "grok")), 2), f"{served.url}/out")
    assert caught.value.code == "GP326"


@pytest.mark.parametrize("to", ["http://127.0.0.1:1/x", "file:///etc/passwd", "https://a@b/x"])
def test_redirections_stay_on_the_web_and_end(to: str, served: Server) -> None:
    where = served.url + "/grok/x" if to.startswith("http://127") else to

    def loop(_: Asked) -> Answer:
        return Answer(302, {"Location": where})

    served.route = loop
    with pytest.raises(GrokpackError) as caught:
        storage.FileBytes(f"{served.url}/grok/config.json").size()
    assert caught.value.code == "GP223"


def test_a_manifest_of_a_server_names_no_file_elsewhere(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/etc/passwd", "a\\b", "ok/tensor", "x\x1b[2J"]
    (tmp_path / "grok").mkdir()
    (tmp_path / "grok" / "grokpack.json").write_text(json.dumps({"files": dict.fromkeys(names)}))
    with serving(tmp_path) as server:
        assert storage.names(f"{server.url}/grok") == ["grokpack.json", "ok"]


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for loopback, and a server's context that has its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, folder / "key.pem")
    return pem, context


@pytest.mark.parametrize("trusted", [True, False])
def test_https_is_read_where_the_certificate_is_trusted(
    trusted: bool, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grokpack.storage.http import range_requests

    pem, context = certificate(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    connections.forget()
    monkeypatch.setattr(range_requests, "TRIES", 2)
    with serving(served.root, context) as secure:
        if not trusted:
            with pytest.raises(GrokpackError) as caught:
                survey(f"{secure.url}/grok")
            assert caught.value.code == "GP221"
            assert "certificate" in str(caught.value.facts).lower()
            return
        limits = RunOptions()
        plan = plan_reshard(open_checkpoint(f"{secure.url}/grok"), 2)

        def silent(_: Asked, answer: Answer) -> None:
            answer.stall = 100
            limits.stop.set()

        secure.fault = only_payload(silent)
        with pytest.raises(GrokpackError) as caught:
            execute(plan, str(tmp_path / "out"), limits)
        assert caught.value.code == "GP403"
        secure.fault = only_payload(drop, every=5)
        execute(plan, str(tmp_path / "out"))
    connections.forget()
    reshard(served.root / "grok", tmp_path / "clean", 2)
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_a_proxy_is_asked_where_the_environment_names_one(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy gets whole URLs; the host itself does not exist."""
    monkeypatch.setenv("http_proxy", served.url)
    storage.forget("http://weights.invalid")
    assert survey("http://weights.invalid/grok").whole
    assert {asked.headers["host"] for asked in served.asked} == {"weights.invalid"}
