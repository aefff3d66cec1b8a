"""URLs that cannot be, whether a user, the environment or a server gives them: each has a code."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from grokpack import storage
from grokpack.cli.app import app
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.storage import urls
from grokpack.storage.http import retry_policy, services
from tests.support import servers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Answer, Asked

IMPOSSIBLE = (
    "http://[::1/x",
    "http://[x]/y",
    "http://x]/y",
    "http://[]/y",
    "s3://a b/c",
    "s3://[x]/c",
    "gs:///c",
    "s3://",
    "hf://",
    "hf://a",
    "hf://a b/c",
    "http:///x",
    "http://",
    "http://h:99999/x",
    "http://h:-1/x",
    "http://h:0/x",
    "http://h:port/x",
    "http://h:1:2/x",
    "http://a b/c",
    "http://a..b/c",
    f"http://{'a' * 64}.b/c",
    "http://h\r\nX-Y: z/c",
    "http://h/\r\nc",
    "http://user:password@h/c",
    "http://h/c?token=x",
    "http://h/../c",
    "http://\udcff/c",
    "http://h/\udcff",
    "ftp://h/c",
    "file:///etc/passwd",
    "HTTP://h/c",
    "http://\u2100.com/c",
    "http://%zz/c",
)


@pytest.mark.parametrize("url", IMPOSSIBLE)
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    done = CliRunner().invoke(app, ["verify", url, "--json", "--progress", "none"])
    assert done.exit_code == ExitStatus.USAGE or "GP224" in done.output, done.output
    assert "GP901" not in done.output


@given(st.text(max_size=30), st.sampled_from(urls.SCHEMES))
def test_a_url_is_taken_apart_or_refused(rest: str, scheme: str) -> None:
    try:
        found = urls.parse(f"{scheme}://{rest}")
    except GrokpackError as error:
        assert error.code == "GP224"  # noqa: PT017  # either is right
    else:
        assert services.resource(str(found)).url()


@pytest.mark.parametrize(
    "variable",
    ["GROKPACK_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "GROKPACK_GS_ENDPOINT",
     "HF_ENDPOINT"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["http://[x", "localhost", "http://h:99999", "http://a b", "x"])
def test_an_endpoint_that_cannot_be_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    services.forget()
    scheme = "gs" if "GS" in variable else "hf" if "HF" in variable else "s3"
    with pytest.raises(GrokpackError, match=variable) as caught:
        services.resource(f"{scheme}://own/name/x")
    assert caught.value.code == "GP224"
    services.forget()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    servers.impatient(monkeypatch)
    monkeypatch.setattr(retry_policy, "delay_s", lambda *_: 0.0)


def _code(url: str) -> str:
    done = CliRunner().invoke(app, ["verify", url, "--json", "--progress", "none"])
    assert "GP901" not in done.output, done.output
    assert done.exit_code not in (0, 70)
    return done.output


LOCATIONS = ("http://[::1/x", "http://[x]/y", "http://h:99999/", "//[", "http://", "file:///etc",
             "http://u:p@h/", "ftp://h/", "http://a b/", "http://a..b/", "\x00", "http://\xff:1/",
             "http://127.0.0.1:1/a b\xe9")  # fmt: skip


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.usefixtures("quick")
def test_a_server_that_redirects_to_what_is_no_address_is_named(
    tmp_path: Path, location: str
) -> None:
    def move(_asked: Asked, answer: Answer) -> None:
        answer.status, answer.headers = 302, {"Location": location}

    with servers.serving(tmp_path) as server:
        server.fault = move
        assert '"GP2' in _code(f"{server.url}/x")


texts = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)
odd = texts | st.sampled_from(
    ["9" * 5000, "-1", "0x10", "bytes 0-0/0", "bytes 5-1/3", "\xb2", "[x"]
)
HEADERS = ("Content-Range", "Content-Length", "Location", "ETag", "Last-Modified", "Retry-After",
           "Content-Encoding", "Content-Type", "Transfer-Encoding", "Link",
           "x-amz-bucket-region")  # fmt: skip


@settings(suppress_health_check=list(HealthCheck))
@given(
    status=st.sampled_from((200, 204, 206, 301, 302, 304, 401, 404, 412, 416, 429, 500, 503, 999)),
    headers=st.dictionaries(st.sampled_from(HEADERS), odd, max_size=4),
    body=st.binary(max_size=20),
)
@pytest.mark.usefixtures("quick")
def test_no_answer_of_a_server_is_a_bug_of_ours(
    tmp_path: Path, status: int, headers: dict[str, str], body: bytes
) -> None:
    def lie(_asked: Asked, answer: Answer) -> None:
        answer.status, answer.headers, answer.body = status, dict(headers), body
        answer.cut = len(body)

    with servers.serving(tmp_path) as server:
        server.fault = lie
        for ask in (storage.is_file, storage.FileBytes.size, storage.names):
            url = f"{server.url}/x.json"
            with contextlib.suppress(GrokpackError):
                ask(storage.FileBytes(url) if ask is storage.FileBytes.size else url)  # type: ignore[arg-type]
