"""Tokens of Google: from a file or the machine, renewed in time, and sent to the bucket only."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.storage.buckets.bucket_sink import BucketSink
from grokpack.storage.http import http_backend, retry_policy, services
from tests.support.servers import Answer, Asked, Server, impatient, serving

if TYPE_CHECKING:
    from pathlib import Path

OBJECT = "gs://grok/config.json"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    monkeypatch.setattr(retry_policy, "delay_s", lambda *_: 0.0)


@pytest.fixture
def google(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Server that is Google's."""
    monkeypatch.setenv("GROKPACK_GS_ENDPOINT", server.url)
    forget()
    return server


def forget() -> None:
    services.forget()
    storage.forget("gs://grok")


@pytest.fixture(scope="module")
def key() -> str:
    """Key of a service account."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # guards nothing
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return made.private_bytes(serialization.Encoding.PEM, *form).decode()


@pytest.fixture
def account(google: Server, key: str, tmp_path: Path) -> Path:
    """File of a service account, whose tokens the server gives."""
    row = {
        "type": "service_account",
        "client_email": "reader@grok.iam.gserviceaccount.com",
        "private_key": key,
        "private_key_id": "of-nobody",
        "token_uri": f"{google.url}/token",
    }
    place = tmp_path / "application_default_credentials.json"
    place.write_text(json.dumps(row), encoding="utf-8")
    return place


def token(name: str, seconds: int) -> Answer:
    row = {"access_token": name, "expires_in": seconds, "token_type": "Bearer"}
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(row).encode())


def giving(google: Server, *answers: Answer) -> list[Asked]:
    """Have a server answer questions for tokens; return the questions."""
    questions: list[Asked] = []

    def route(asked: Asked) -> Answer | None:
        if asked.path.startswith("grok"):
            return Answer(200, {}) if asked.method == "PUT" else None
        questions.append(asked)
        return answers[min(len(questions), len(answers)) - 1]

    google.route = route
    return questions


def tokens(google: Server) -> list[str | None]:
    asked = [asked for asked in google.asked if asked.path.startswith("grok")]
    return [row.headers.get("authorization", "").removeprefix("Bearer ") or None for row in asked]


@pytest.mark.parametrize("place", ["variable", "login"])
def test_a_token_that_is_about_to_expire_is_renewed_while_a_file_is_read(
    place: str, account: Path, google: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "variable":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    else:
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(account.parent))
    questions = giving(google, token("first-token", 60), token("second-token", 3600))
    assert http_backend.size(OBJECT) == 2
    assert http_backend.stamp(OBJECT, fresh=True)
    assert http_backend.stamp(OBJECT, fresh=True)
    assert tokens(google) == ["first-token", "second-token", "second-token"]
    assert [b"jwt-bearer" in asked.body for asked in questions] == [True, True]


def test_a_token_that_is_about_to_expire_is_renewed_while_a_file_is_written(
    account: Path, google: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    forget()
    giving(google, token("first-token", 60), token("second-token", 3600))
    out = BucketSink("gs://grok/out", str(tmp_path))
    for _ in range(2):
        out.write_small({OBJECT: b"{}"})
    assert tokens(google) == ["first-token", "second-token"]


def test_a_token_of_the_environment_goes_before_the_file(
    account: Path, google: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "given-token")
    assert http_backend.size(OBJECT) == 2
    monkeypatch.setenv("GROKPACK_ANONYMOUS", "1")
    forget()
    assert http_backend.size(OBJECT) == 2
    assert tokens(google) == ["given-token", None]


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_the_emulator_of_googles_own_clients_is_asked_without_a_token(
    scheme: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", scheme + server.url.partition("://")[2])
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29.of-the-environment")
    forget()
    assert http_backend.size(OBJECT) == 2
    assert {asked.headers.get("authorization") for asked in server.asked} == {None}


def test_a_token_goes_to_no_other_host(
    account: Path, google: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    with serving(tmp_path / "served") as elsewhere:
        giving(google, token("first-token", 3600))
        place = f"{elsewhere.url}/grok/config.json"
        answers = google.route
        assert answers is not None
        google.route = lambda asked: (
            Answer(302, {"Location": place}) if asked.path.startswith("grok") else answers(asked)
        )
        assert http_backend.size(OBJECT) == 2
        assert tokens(google) == ["first-token"]
        assert tokens(elsewhere) == [None]


def test_a_service_of_tokens_that_breaks_off_is_asked_again(
    account: Path, google: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    cut = token("first-token", 3600)
    cut.cut = 10
    questions = giving(google, cut, token("second-token", 3600))
    assert http_backend.size(OBJECT) == 2
    assert len(questions) == 2


def refusal() -> GrokpackError:
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(OBJECT)
    return caught.value


@pytest.mark.parametrize("writes", [False, True])
def test_a_login_that_was_revoked_is_told_at_once_and_without_secrets(
    writes: bool,
    account: Path,
    google: Server,
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    forget()
    body = b'{"error": "invalid_grant", "error_description": "it was revoked"}'
    questions = giving(google, Answer(400, {}, body))
    with pytest.raises(GrokpackError) as caught:
        (BucketSink("gs://grok/out", str(tmp_path)).size_of if writes else http_backend.size)(
            OBJECT
        )
    assert (caught.value.code, caught.value.exit_status) == ("GP222", 3)
    assert "it was revoked" in str(caught.value.facts)
    assert "application-default login" in str(caught.value.hint)
    assert key.splitlines()[1] not in repr(caught.value)
    assert len(questions) == 1


def test_an_address_for_tokens_that_does_not_resolve_is_told_at_once(
    account: Path, google: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = json.loads(account.read_text(encoding="utf-8")) | {"token_uri": "http://token.invalid/"}
    account.write_text(json.dumps(row), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    error = refusal()
    assert (error.code, error.exit_status) == ("GP243", 3)
    assert "token.invalid does not resolve" in str(error.facts)
    assert not google.asked


@pytest.mark.parametrize(
    "text", [None, "{", "[]", '{"type": "of-nobody"}', '{"type": "service_account"}']
)
def test_a_file_that_cannot_be_used_is_named(
    text: str | None, google: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "account.json"
    if text is not None:
        place.write_text(text, encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(place))
    error = refusal()
    assert (error.code, error.exit_status) == ("GP346", 2)
    assert str(place) in str(error)
    assert not google.asked


# --- the account of the machine ------------------------------------------------------------------


def machine(asked: Asked) -> Answer:
    """What the metadata server of a machine answers."""
    answer = token("token-of-the-machine", 3600)
    if not asked.path.endswith("/token"):
        answer.body = json.dumps({"email": "machine@grok", "scopes": []}).encode()
    answer.headers["Metadata-Flavor"] = "Google"
    return answer


@pytest.mark.parametrize("is_public", [False, True])
def test_the_account_of_the_machine_is_asked_for_by_what_is_not_public(
    is_public: bool, google: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def route(asked: Asked) -> Answer | None:
        if not asked.path.startswith("grok"):
            return machine(asked)
        return None if is_public or "authorization" in asked.headers else Answer(403, {})

    host = google.url.removeprefix("http://")
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host)
    monkeypatch.delenv("NO_GCE_CHECK")
    google.route = route
    assert http_backend.size(OBJECT) == 2
    assert tokens(google) == ([None] if is_public else [None, "token-of-the-machine"])
    if is_public:
        assert len(google.asked) == 1
    else:
        assert BucketSink("gs://grok/out", str(tmp_path)).size_of(OBJECT) == 2
        assert tokens(google)[2:] == ["token-of-the-machine"]


def test_a_machine_without_an_account_is_refused_like_anybody(
    google: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = google.url.removeprefix("http://")
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host)
    monkeypatch.delenv("NO_GCE_CHECK")
    google.route = lambda asked: Answer(403 if asked.path.startswith("grok") else 404, {})
    error = refusal()
    assert error.code == "GP222"
    assert "not public" in str(error.hint)


# --- without google-auth -------------------------------------------------------------------------


@pytest.fixture
def _without_google(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("google.auth")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "google.auth", None)


@pytest.mark.usefixtures("_without_google")
def test_what_needs_no_account_is_read_without_google_auth(
    google: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_GCE_CHECK")
    assert http_backend.size(OBJECT) == 2
    google.route = lambda _: Answer(403, {})
    forget()
    assert refusal().code == "GP222"


@pytest.mark.usefixtures("_without_google")
def test_a_file_that_nobody_reads_names_the_extra(
    account: Path, google: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    error = refusal()
    assert error.code == "GP307"
    assert "grokpack[buckets]" in str(error.hint)
    assert not google.asked
