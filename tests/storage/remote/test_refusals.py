"""Refusals of buckets and the hub: what the hint says depends on what was sent and answered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.storage.http import http_backend, services
from tests.support.servers import Answer, Asked, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OBJECT = "s3://grok/ckpt-0/tensor00000_000"
HUB = "hf://xai-org/grok-1/config.json"
KEYS = {"AWS_ACCESS_KEY_ID": "key-of-somebody", "AWS_SECRET_ACCESS_KEY": "of-somebody"}
ENDPOINTS = ("GROKPACK_S3_ENDPOINT", "GROKPACK_GS_ENDPOINT", "HF_ENDPOINT")


@pytest.fixture
def far(served: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Server that stands for each service."""
    for name in ENDPOINTS:
        monkeypatch.setenv(name, served.url)
    services.forget()
    for url in ("s3://grok", "gs://grok", "hf://xai-org/grok-1"):
        storage.forget(url)
    yield served
    services.forget()


def refusal(path: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> GrokpackError:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    services.forget()
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(path)
    return caught.value


def s3_error(code: str, region: str = "") -> bytes:
    told = f"<Region>{region}</Region>" if region else ""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code>{told}</Error>".encode()


def region_of(asked: Asked) -> str | None:
    match = re.search(r"/([a-z0-9-]+)/s3/aws4_request", asked.headers.get("authorization", ""))
    return match[1] if match else None


@pytest.mark.parametrize("form", ["body", "header"])
def test_a_region_that_the_answer_names_is_the_one_that_is_signed_for(
    form: str, far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(asked: Asked) -> Answer | None:
        if region_of(asked) == "eu-west-9":
            return None
        body = s3_error("AuthorizationHeaderMalformed", "eu-west-9" if form == "body" else "")
        headers = {} if form == "body" else {"x-amz-bucket-region": "eu-west-9"}
        return Answer(400, headers, body)

    far.route = elsewhere
    for name, value in (KEYS | {"AWS_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    services.forget()
    assert http_backend.size(OBJECT)
    assert [region_of(asked) for asked in far.asked] == ["us-east-1", "eu-west-9"]


def test_a_region_that_is_wrong_and_not_named_is_told_at_once(
    far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.route = lambda _: Answer(400, {}, s3_error("AuthorizationHeaderMalformed"))
    error = refusal(OBJECT, KEYS, monkeypatch)
    assert (error.code, error.exit_status) == ("GP222", 3)
    assert "AWS_REGION" in str(error.hint)
    assert len(far.asked) == 1


def test_a_server_that_names_ever_other_regions_is_left(
    far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turning(asked: Asked) -> Answer:
        return Answer(400, {}, s3_error("AuthorizationHeaderMalformed", f"r-{asked.number}"))

    far.route = turning
    assert refusal(OBJECT, KEYS, monkeypatch).code == "GP221"
    assert len(far.asked) < 10


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "ExpiredToken", "has expired"),
        (403, "ExpiredToken", "has expired"),
        (400, "InvalidToken", "has expired"),
        (403, "InvalidAccessKeyId", "not known there"),
        (403, "SignatureDoesNotMatch", "secret key"),
        (403, "RequestTimeTooSkewed", "clock"),
        (403, "InvalidObjectState", "archived"),
        (403, "AccessDenied", "do not allow it"),
    ],
)
def test_the_hint_for_a_bucket_fits_the_reason(
    status: int, code: str, words: str, far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.route = lambda _: Answer(status, {}, s3_error(code))
    error = refusal(OBJECT, KEYS | {"AWS_SESSION_TOKEN": "of-an-hour"}, monkeypatch)
    assert error.code == "GP222"
    assert words in str(error.hint)
    assert len(far.asked) == 1


@pytest.mark.parametrize(
    ("status", "token", "words"),
    [
        (401, None, "set HF_TOKEN"),
        (401, "hf_expired", "the token of HF_TOKEN is not valid: it has expired"),
        (403, "hf_of-another", "ask for access at"),
    ],
)
def test_the_hint_for_the_hub_fits_the_token(
    status: int, token: str | None, words: str, far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.route = lambda _: Answer(status, {}, b'{"error":"Invalid credentials"}')
    error = refusal(HUB, {"HF_TOKEN": token} if token else {}, monkeypatch)
    assert error.code == "GP222"
    assert words in str(error.hint)


def test_an_expired_token_of_google_is_told(far: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    far.route = lambda _: Answer(401, {})
    token = {"GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.of-an-hour"}
    assert "has expired" in str(refusal("gs://grok/config.json", token, monkeypatch).hint)


def test_the_hubs_own_name_for_a_refusal_is_told(
    far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.route = lambda _: Answer(403, {"X-Error-Code": "GatedRepo"}, b"{}")
    error = refusal(HUB, {"HF_TOKEN": "hf_of-another"}, monkeypatch)
    assert ("answer", "403 GatedRepo") in error.facts
    assert "ask for access at" in str(error.hint)


@pytest.mark.parametrize(
    ("settings", "origin"),
    [
        ({"HF_TOKEN": "hf_mine", "HUGGING_FACE_HUB_TOKEN": "hf_old"}, "HF_TOKEN"),
        ({"HUGGING_FACE_HUB_TOKEN": "hf_mine"}, "HUGGING_FACE_HUB_TOKEN"),
        ({"HF_TOKEN_PATH": "~/huggingface/token"}, "`hf auth login`"),
        ({"HF_HOME": "$HOME/huggingface"}, "`hf auth login`"),
        ({"XDG_CACHE_HOME": "{home}"}, "`hf auth login`"),
    ],
)
def test_a_token_is_where_the_hubs_client_has_it(
    settings: dict[str, str],
    origin: str,
    far: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text("hf_mine\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    far.route = lambda _: Answer(401, {}, b"{}")
    own = {name: text.format(home=tmp_path) for name, text in settings.items()}
    assert origin in str(refusal(HUB, own, monkeypatch).hint)
    assert {asked.headers.get("authorization") for asked in far.asked} == {"Bearer hf_mine"}


def test_no_token_is_sent_where_that_is_switched_off(
    far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.route = lambda _: Answer(401, {}, b"{}")
    switch = {"HF_TOKEN": "hf_mine", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    error = refusal(HUB, switch, monkeypatch)
    assert "HF_HUB_DISABLE_IMPLICIT_TOKEN" in str(error.hint)
    assert {asked.headers.get("authorization") for asked in far.asked} == {None}


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_hub_is_not_asked_where_that_is_forbidden(
    variable: str, far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refusal(HUB, {variable: "true"}, monkeypatch)
    assert (error.code, far.asked) == ("GP243", [])
    assert variable in error.what


def test_of_two_variables_that_forbid_to_ask_the_hub_its_own_counts(
    far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.route = lambda _: Answer(401, {}, b"{}")
    switches = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}
    assert refusal(HUB, switches, monkeypatch).code == "GP222"
