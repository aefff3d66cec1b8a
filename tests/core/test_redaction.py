"""No secret of a setting, a URL or a header is in what is printed or written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from grokpack import storage
from grokpack.cli import crash_report
from grokpack.cli.app import app
from grokpack.core import redaction
from grokpack.core.errors import GrokpackError, Place, SourceUnreadable
from grokpack.storage.http import retry_policy, services
from tests.support import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Answer, Asked

SECRET = "Zq9-planted/secret+value"  # noqa: S105  # that is the point
SETTINGS = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "GITHUB_TOKEN",
    "SOME_API_KEY",
    "DATABASE_PASSWORD",
)
URLS = (
    f"http://user:{SECRET}@127.0.0.1:1/x",
    "http://Zq9planted@127.0.0.1:1/x",
    f"http://127.0.0.1:1/x?X-Amz-Signature={SECRET}&x=1",
    f"https://127.0.0.1:1/x?anything={SECRET}",
    f"s3://key:{SECRET}@bucket/x",
    "hf://Zq9planted@xai-org/grok-1",
)


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no test know the secrets of another."""
    monkeypatch.setattr(redaction, "_known", set())
    redaction._pattern.cache_clear()
    servers.impatient(monkeypatch)
    monkeypatch.setattr(retry_policy, "delay_s", lambda *_: 0.0)
    yield
    redaction._pattern.cache_clear()
    services.forget()


def _holds(text: str) -> bool:
    return any(piece in text for piece in ("planted", "Zq9"))


@pytest.mark.parametrize("name", SETTINGS)
@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_what_a_setting_holds_is_left_out_wherever_it_stands(
    name: str, before: str, after: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, SECRET)
        redaction.add_secrets_of_process()
        error = SourceUnreadable(f"{before}{SECRET}{after}", Place(SECRET), hint=SECRET)
        assert not _holds(repr(error) + str(error) + str(error.args))


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("form", ["text", "json", "github", "junit"])
def test_what_a_url_holds_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, form: str
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    report = tmp_path / "r.json"
    words = ["verify", url, "--format", form, "--report", str(report), "--progress", "none"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code not in (0, 70)
    written = [p.read_text(encoding="utf-8") for p in tmp_path.rglob("*") if p.is_file()]
    assert written
    assert not _holds("".join([done.output, *written]))


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f'"headers":["Authorization: Bearer {SECRET}"]',
        f"b'Proxy-Authorization: Basic {SECRET}'",
        f"Set-Cookie: session={SECRET}; Path=/",
        f"x-amz-security-token: {SECRET}",
        f"/x?sig={SECRET}",
        f"AWSAccessKeyId={SECRET}&x",
        f"https://h/x?{SECRET}",
        f"s3://a:{SECRET}@b",
        "hf_Zq9plantedplantedplanted",
    ],
)
def test_a_secret_that_nobody_knows_is_left_out_where_secrets_stand(text: str) -> None:
    assert not _holds(redaction.redact(text))


@given(st.text())
def test_leaving_out_twice_is_leaving_out_once(text: str) -> None:
    once = redaction.redact(text)
    assert redaction.redact(once) == once


@pytest.mark.parametrize("status", [401, 403, 500, 302, 200])
def test_a_server_that_repeats_a_secret_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def repeat(asked: Asked, answer: Answer) -> None:
        told = asked.headers.get("authorization", "")
        answer.status, answer.body = status, f"<Code>{told}</Code>".encode()
        place = f"http://127.0.0.1:1/x?X-Amz-Signature={SECRET}"
        answer.headers = {"ETag": told, "Set-Cookie": told, "Location": place}

    with servers.serving(tmp_path) as server:
        server.fault = repeat
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", SECRET)
        services.forget()
        words = ["verify", "hf://xai-org/grok-1", "--json", "--progress", "none"]
        done = CliRunner().invoke(app, words)
        assert any("authorization" in asked.headers for asked in server.asked)
    assert done.exit_code not in (0, 70)
    assert not _holds(done.output)


def test_a_report_of_a_bug_holds_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    redaction.add_secrets_of_process()
    url = "http://u:otherZq9@h/x?sig=thirdZq9"
    error = crash_report.bug(
        RuntimeError(f"{SECRET} Authorization: Bearer {SECRET} {url}"), verbose=True
    )
    (report,) = tmp_path.rglob("crash-*")
    assert not _holds(report.read_text(encoding="utf-8"))
    assert not _holds(str(error) + capsys.readouterr().err)


def test_a_setting_of_an_endpoint_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://user:{SECRET}@127.0.0.1:1")
    with pytest.raises(GrokpackError, match="HF_ENDPOINT") as caught:
        storage.names("hf://xai-org/grok-1")
    assert not _holds(repr(caught.value) + json.dumps(str(caught.value)))
