"""Services that give keys of AWS: asked in time, asked again, and told from what lasts."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.storage.buckets.bucket_sink import BucketSink
from grokpack.storage.http import (
    botocore_failures,
    http_backend,
    retry_policy,
)
from tests.support.aws import OBJECT, OWN, ROLE, failure, forget, keys_of, setting, signers
from tests.support.servers import Answer, Asked, Server, impatient


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    monkeypatch.setattr(botocore_failures, "reached", threading.Event())


# --- keys that expire ----------------------------------------------------------------------------


def role_keys(name: str, minutes: int) -> Answer:
    """Keys of an assumed role, which expire in some minutes."""
    until = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = (
        f"<AccessKeyId>{name}</AccessKeyId><SecretAccessKey>secret-of-{name}</SecretAccessKey>"
        f"<SessionToken>token-of-{name}</SessionToken><Expiration>{until}</Expiration>"
    )
    body = f"<AssumeRoleResponse><AssumeRoleResult><Credentials>{keys}</Credentials>"
    return Answer(200, {}, f"{body}</AssumeRoleResult></AssumeRoleResponse>".encode())


def giving(server: Server, *answers: Answer) -> list[Asked]:
    """Have a server answer questions for a role's keys; return the questions."""
    asked_for_keys: list[Asked] = []

    def route(asked: Asked) -> Answer | None:
        if asked.path.startswith("grok"):
            return Answer(200, {}) if asked.method == "PUT" else None
        asked_for_keys.append(asked)
        return answers[min(len(asked_for_keys), len(answers)) - 1]

    server.route = route
    return asked_for_keys


@pytest.fixture
def role(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(retry_policy, "delay_s", lambda *_: 0.0)
    urls = {"AWS_ENDPOINT_URL_STS": server.url, "GROKPACK_S3_ENDPOINT": server.url}
    setting(tmp_path, monkeypatch, ROLE, OWN, AWS_PROFILE="work", **urls)
    return server


def test_keys_that_are_about_to_expire_are_renewed_while_a_file_is_read(role: Server) -> None:
    questions = giving(role, role_keys("ASIAFIRST", 5), role_keys("ASIASECOND", 60))
    file = storage.FileBytes(OBJECT)
    assert file.size() == 2
    assert http_backend.stamp(OBJECT, fresh=True)
    assert http_backend.stamp(OBJECT, fresh=True)
    assert signers(role) == ["ASIAFIRST", "ASIASECOND", "ASIASECOND"]
    assert [b"Action=AssumeRole" in asked.body for asked in questions] == [True, True]
    tokens = {asked.headers["x-amz-security-token"] for asked in role.asked if "grok" in asked.path}
    assert tokens == {"token-of-ASIAFIRST", "token-of-ASIASECOND"}


def test_keys_that_are_about_to_expire_are_renewed_while_a_file_is_written(
    role: Server, tmp_path: Path
) -> None:
    giving(role, role_keys("ASIAFIRST", 5), role_keys("ASIASECOND", 60))
    out = BucketSink("s3://grok/out", str(tmp_path))
    for _ in range(2):
        out.write_small({OBJECT: b"{}"})
    assert set(signers(role)) == {"ASIASECOND"}


def test_a_service_of_keys_that_is_busy_is_asked_again(role: Server, tmp_path: Path) -> None:
    busy = Answer(503, {"Retry-After": "0"})
    questions = giving(role, busy, role_keys("ASIAFIRST", 60))
    assert http_backend.size(OBJECT) == 2
    assert len(questions) == 2
    forget()
    questions = giving(role, busy, role_keys("ASIAFIRST", 60))
    assert BucketSink("s3://grok/out", str(tmp_path)).size_of(OBJECT) == 2
    assert len(questions) == 2


@pytest.mark.parametrize("writes", [False, True])
def test_a_role_that_may_not_be_taken_is_told_at_once_and_without_secrets(
    writes: bool, role: Server, tmp_path: Path
) -> None:
    said = "<Error><Code>AccessDenied</Code><Message>not for you</Message></Error>"
    body = f"<ErrorResponse>{said}</ErrorResponse>".encode()
    questions = giving(role, Answer(403, {}, body))
    with pytest.raises(GrokpackError) as caught:
        _ = BucketSink("s3://grok/out", str(tmp_path)) if writes else http_backend.size(OBJECT)
    assert (caught.value.code, caught.value.exit_status) == ("GP222", 3)
    assert "not for you" in str(caught.value.facts)
    assert "own-secret" not in repr(caught.value)
    assert len(questions) == 1


def test_an_address_for_keys_that_does_not_resolve_is_told_at_once(
    role: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://sts.invalid")
    forget()
    error = failure()
    assert (error.code, error.exit_status) == ("GP243", 3)
    assert "sts.invalid does not resolve" in str(error.facts)
    assert not role.asked


def test_a_login_that_has_expired_says_how_to_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = "[profile work]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n"
    config += "[sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://sso.invalid/\n"
    monkeypatch.setenv("HOME", str(tmp_path))
    setting(tmp_path, monkeypatch, config, AWS_PROFILE="work")
    error = failure()
    assert (error.code, error.exit_status) == ("GP222", 3)
    assert "aws sso login" in str(error.hint)


# --- the role of the machine ---------------------------------------------------------------------


def machine(asked: Asked) -> Answer:
    """What the metadata service of a machine answers."""
    if asked.method == "PUT":
        return Answer(200, {}, b"token-of-the-service")
    if asked.path.endswith("security-credentials/"):
        return Answer(200, {}, b"reader")
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = {"AccessKeyId": "ASIAMACHINE", "SecretAccessKey": "s", "Token": "t", "Expiration": until}
    return Answer(200, {}, json.dumps(keys | {"Code": "Success"}).encode())


@pytest.mark.parametrize("is_public", [False, True])
def test_the_role_of_the_machine_is_asked_for_by_what_is_not_public(
    is_public: bool, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def route(asked: Asked) -> Answer | None:
        if not asked.path.startswith("grok"):
            return machine(asked)
        return None if is_public or keys_of(asked) else Answer(403, {})

    server.route = route
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    urls = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url, "GROKPACK_S3_ENDPOINT": server.url}
    setting(tmp_path, monkeypatch, "[default]\nregion = eu-west-3\n", **urls)
    assert http_backend.size(OBJECT) == 2
    if is_public:
        assert signers(server) == [None]
        assert len(server.asked) == 1
    else:
        assert signers(server) == [None, "ASIAMACHINE"]
        assert BucketSink("s3://grok/out", str(tmp_path)).size_of(OBJECT) == 2
        assert signers(server)[2:] == ["ASIAMACHINE"]
