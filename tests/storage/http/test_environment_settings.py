"""Settings from the environment: each is checked before the first request, and named if wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from grokpack.core.errors import GrokpackError
from grokpack.storage.buckets.bucket_client import new_client
from grokpack.storage.http import services, settings
from grokpack.storage.http.services import bucket, of
from grokpack.storage.hub.hub_client import HubClient
from grokpack.storage.urls import parse
from tests.support.checkpoints import GOLDEN
from tests.support.servers import impatient


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "1e3", "٣", "1001", "9" * 50, "7 tries"])
def test_a_number_that_is_none_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBER", text)
    with pytest.raises(GrokpackError, match="NUMBER cannot be used") as caught:
        settings.whole_number("NUMBER", 7, 1000)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(("text", "value"), [("", 7), (" ", 7), ("0", 0), (" 12 ", 12)])
def test_a_number_is_read(text: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBER", text)
    assert settings.whole_number("NUMBER", 7, 1000) == value


@pytest.mark.parametrize("text", ["30s", "0", "-1", "nan", "inf", "1e9", "half", "1,5"])
def test_a_duration_that_is_none_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAIT", text)
    with pytest.raises(GrokpackError, match="WAIT cannot be used") as caught:
        settings.seconds("WAIT", 30)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(("text", "value"), [("", 30), ("45", 45), ("0.5", 0.5)])
def test_a_duration_is_read(text: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAIT", text)
    assert settings.seconds("WAIT", 30) == value


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("GROKPACK_S3_ENDPOINT", "s3://b/x"),
        ("AWS_ENDPOINT_URL_S3", "s3://b/x"),
        ("AWS_ENDPOINT_URL", "s3://b/x"),
        ("GROKPACK_GS_ENDPOINT", "gs://b/x"),
        ("HF_ENDPOINT", "hf://o/n"),
    ],
)
@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:9000", "mirror.example", "ftp://h", "https://", "http://h:x", "http://h?a=b"],
)
def test_an_endpoint_that_is_no_web_address_is_named(
    variable: str, path: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    services.forget()
    with pytest.raises(GrokpackError, match=f"{variable} cannot be used") as caught:
        of(parse(path))
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("HF_TOKEN", "hf://o/n"),
        ("GOOGLE_OAUTH_ACCESS_TOKEN", "gs://b/x"),
        ("AWS_ACCESS_KEY_ID", "s3://b/x"),
        ("AWS_SECRET_ACCESS_KEY", "s3://b/x"),
    ],
)
@pytest.mark.parametrize("text", ["two words", "two\nlines", "schlüssel"])
def test_a_secret_that_cannot_be_sent_is_named_and_not_shown(
    variable: str, path: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    services.forget()
    with pytest.raises(GrokpackError, match=f"{variable} cannot be used") as caught:
        of(parse(path))
    assert text not in repr(caught.value)


def test_spaces_around_a_secret_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_token\n")
    assert settings.secret("HF_TOKEN") == "hf_token"


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_a_region_that_would_be_another_host_is_named(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "evil.example/")
    services.forget()
    with pytest.raises(GrokpackError, match=f"{variable} cannot be used"):
        of(parse("s3://b/x"))


@pytest.mark.parametrize(
    ("variable", "text", "named"),
    [
        ("AWS_MAX_ATTEMPTS", "many", "AWS_MAX_ATTEMPTS"),
        ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "-1", "AWS_METADATA_SERVICE_NUM_ATTEMPTS"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "5s", "AWS_METADATA_SERVICE_TIMEOUT"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example/x", "evil.example"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere", "/nowhere"),
        ("AWS_DEFAULTS_MODE", "quick", "quick"),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "sha", "request_checksum_calculation"),
    ],
)
def test_a_setting_that_botocore_cannot_use_is_named(
    variable: str, text: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable not in ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-nobody")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/reader")
    monkeypatch.setenv(variable, text)
    services.forget()
    with pytest.raises(GrokpackError, match=named) as caught:
        new_client(bucket(parse("s3://b/x")))
    assert caught.value.code == "GP346"


KEYS = "aws_access_key_id = name\naws_secret_access_key = of-nobody\n"
ROLE = "role_arn = arn:aws:iam::1:role/reader\n"


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        (f"{KEYS}metadata_service_timeout = 5s", "GP346", "metadata_service_timeout of profile"),
        (f"{KEYS}max_attempts = many", "GP346", "max_attempts of profile `default`"),
        (f"{KEYS}services = nowhere", "GP346", "no section `services nowhere`"),
        (f"{KEYS}services = own\n[services own]\ns3 = here", "GP346", "AWS's settings"),
        (f"{KEYS}s3 = here", "GP346", "AWS's settings"),
        (f"{KEYS}defaults_mode = quick", "GP346", "quick"),
        ("credential_process = /nowhere/keys", "GP346", "/nowhere/keys"),
        ("credential_process = echo []", "GP346", "AWS's settings"),
        (f"{ROLE}source_profile = nobody", "GP346", "nobody"),
        (f"{ROLE}mfa_serial = x\nsource_profile = own\n[profile own]\n{KEYS}", "GP222", "mfa"),
    ],
)
def test_a_profile_that_cannot_be_used_says_why_and_asks_nobody(
    text: str, code: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(f"[default]\n{text}\n", encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    services.forget()
    with pytest.raises(GrokpackError, match=named) as caught:
        new_client(bucket(parse("s3://b/x")))
    assert caught.value.code == code


@pytest.mark.parametrize("variable", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
def test_a_number_that_the_hubs_client_reads_is_named(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "10s")
    with pytest.raises(GrokpackError, match=f"{variable} cannot be used"):
        HubClient("hf://o/n").check()


@pytest.mark.parametrize("file", ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"])
def test_a_profile_that_is_in_neither_file_is_an_error(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "work" if "SHARED" in file else "profile work"
    (tmp_path / "file").write_text(f"[{name}]\n[default]\nregion = x\n", encoding="utf-8")
    monkeypatch.setenv(file, str(tmp_path / "file"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    services.forget()
    of(parse("s3://b/x"))
    monkeypatch.setenv("AWS_PROFILE", "wrok")
    services.forget()
    with pytest.raises(GrokpackError, match="no profile `wrok`") as caught:
        of(parse("s3://b/x"))
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("variable", "text"), [("GROKPACK_HTTP_RETRIES", "many"), ("GROKPACK_HTTP_SILENCE", "30s")]
)
def test_a_command_stops_at_a_setting_that_is_wrong(variable: str, text: str) -> None:
    command = [sys.executable, "-m", "grokpack", "inspect", "http://127.0.0.1:1/grok"]
    done = subprocess.run(
        command, env=os.environ | {variable: text}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{variable} cannot be used" in done.stderr


@pytest.mark.parametrize("variable", ["GROKPACK_MEMORY", "GROKPACK_WORKERS"])
def test_a_command_names_the_variable_that_stands_for_an_option(
    variable: str, tmp_path: Path
) -> None:
    words = ["reshard", str(GOLDEN), "--tp", "2", "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "grokpack", *words],
        env=os.environ | {variable: "lots"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"`lots` of {variable} is not a" in done.stderr
