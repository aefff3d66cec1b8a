"""Keys of AWS: found where its own programs find them, renewed in time, and shown to nobody."""

from __future__ import annotations

import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from grokpack.storage.buckets.bucket_client import new_client
from grokpack.storage.buckets.bucket_sink import BucketSink
from grokpack.storage.http import (
    aws_credentials,
    botocore_failures,
    http_backend,
    services,
)
from grokpack.storage.urls import parse
from tests.support.aws import OBJECT, OWN, ROLE, failure, forget, setting, signers
from tests.support.servers import Answer, Server, impatient


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    monkeypatch.setattr(botocore_failures, "reached", threading.Event())


@pytest.mark.parametrize("token", [None, "a-token/+="])
@pytest.mark.parametrize(
    "url",
    [
        "https://grok.s3.eu-west-1.amazonaws.com/a%20b/c%2Bd",
        "http://127.0.0.1:9000/grok/?delimiter=%2F&list-type=2&prefix=models%2Fckpt-0%2F",
    ],
)
def test_a_signature_is_that_of_botocore_left_to_itself(
    url: str, token: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    now = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  # as botocore has it
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)
    keys = {"AWS_ACCESS_KEY_ID": "name", "AWS_SECRET_ACCESS_KEY": "of-nobody"}
    setting(tmp_path, monkeypatch, **keys, **({"AWS_SESSION_TOKEN": token} if token else {}))
    own = aws_credentials.AwsCredentials(anonymous=False).headers(url, "eu-west-1")
    theirs = AWSRequest("GET", url)
    S3SigV4Auth(Credentials("name", "of-nobody", token), "s3", "eu-west-1").add_auth(theirs)
    assert own == dict(theirs.headers.items())


@pytest.mark.parametrize(
    ("profile", "variables", "found"),
    [
        ("default", {}, ("a", "b", None)),
        ("work", {}, ("c", "d%", "e")),
        ("other", {}, ("f", "g", None)),
        ("work", {"AWS_ACCESS_KEY_ID": "h", "AWS_SECRET_ACCESS_KEY": "i"}, ("h", "i", None)),
    ],
)
def test_keys_are_found_in_the_environment_and_in_either_file(
    profile: str,
    variables: dict[str, str],
    found: tuple[str, str, str | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials = "[default]\naws_access_key_id = a\naws_secret_access_key = b\n"
    credentials += "[work]\naws_access_key_id = c\naws_secret_access_key = d%\n"
    credentials += "aws_session_token = e\n"
    config = "[profile other]\naws_access_key_id = f\naws_secret_access_key = g\n"
    setting(tmp_path, monkeypatch, config, credentials, AWS_PROFILE=profile, **variables)
    keys = aws_credentials.AwsCredentials(anonymous=False).keys()
    assert (keys.access_key, keys.secret_key, keys.token) == found


PROFILE = "[profile work]\nregion = eu-west-3\n"
SERVICES = "[services mine]\ns3 =\n  endpoint_url = {url}\n"


@pytest.mark.parametrize(
    "config",
    [
        PROFILE + "endpoint_url = {url}\n",
        PROFILE + "endpoint_url = http://127.0.0.1:1\nservices = mine\n" + SERVICES,
    ],
)
def test_a_profile_counts_for_reading_and_for_writing(
    config: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = OWN.replace("own]", "work]")
    setting(tmp_path, monkeypatch, config.format(url=server.url), keys, AWS_PROFILE="work")
    assert http_backend.size(OBJECT) == 2
    assert BucketSink("s3://grok/out", str(tmp_path)).size_of(OBJECT) == 2
    assert [asked.method for asked in server.asked] == ["GET", "HEAD"]
    assert signers(server) == ["AKIAOWN", "AKIAOWN"]
    assert all("/eu-west-3/s3/" in asked.headers["authorization"] for asked in server.asked)


@pytest.mark.parametrize("style", ["auto", "path", "virtual"])
@pytest.mark.parametrize("endpoint", ["", "endpoint_url = https://oss.example:9000\n"])
def test_a_bucket_is_named_where_its_profile_wants_it(
    endpoint: str, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = f"{PROFILE}{endpoint}s3 =\n  addressing_style = {style}\n"
    setting(tmp_path, monkeypatch, config, OWN.replace("own]", "work]"), AWS_PROFILE="work")
    bucket = services.bucket(parse(OBJECT))
    host = "oss.example:9000" if endpoint else "s3.eu-west-3.amazonaws.com"
    in_host = style == "virtual" or (style == "auto" and not endpoint)
    assert bucket.base() == (f"https://grok.{host}" if in_host else f"https://{host}/grok")
    client = new_client(bucket)
    client.meta.events.register("before-send.s3", _refuse_to_send)
    with pytest.raises(ConnectionError, match=f"^{bucket.base()}/a$"):
        client.head_object(Bucket="grok", Key="a")


def _refuse_to_send(request: Any, **_: object) -> None:
    raise ConnectionError(request.url)


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({}, "http://profile"),
        ({"AWS_ENDPOINT_URL": "http://all"}, "http://all"),
        ({"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3"}, "http://s3"),
        ({"AWS_ENDPOINT_URL": "http://all", "GROKPACK_S3_ENDPOINT": "http://own"}, "http://own"),
        ({"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "AWS_ENDPOINT_URL": "http://all"}, None),
    ],
)
def test_variables_go_before_the_profile(
    variables: dict[str, str], where: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PROFILE + "endpoint_url = http://profile/\n"
    setting(tmp_path, monkeypatch, config, AWS_PROFILE="work", **variables)
    bucket = services.bucket(parse(OBJECT))
    assert (bucket.endpoint, bucket.region) == (where, "eu-west-3")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    forget()
    assert services.bucket(parse(OBJECT)).region == "eu-west-1"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[profile work]\nendpoint_url = 127.0.0.1:9000\n", "endpoint_url of profile `work`"),
        ("[profile work]\ns3 =\n  addressing_style = dns\n", "addressing_style of profile `work`"),
        ("[profile work]\nregion = evil.example/\n", "region of profile `work`"),
        ("[profile work]\naws_access_key_id = AKIAHALF\n", "Partial credentials"),
        ("[profile work\n", "parse config file"),
        (ROLE, "own"),
    ],
)
def test_what_cannot_be_used_of_a_profile_is_named(
    config: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(tmp_path, monkeypatch, config, AWS_PROFILE="work")
    error = failure()
    assert words in str(error)
    assert error.exit_status == 2


# --- without botocore ----------------------------------------------------------------------------


@pytest.fixture
def _without_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)


@pytest.mark.usefixtures("_without_botocore")
def test_what_is_public_is_read_without_botocore(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROKPACK_S3_ENDPOINT", server.url)
    forget()
    assert http_backend.size(OBJECT) == 2
    server.route = lambda _: Answer(403, {})
    forget()
    assert failure().code == "GP222"


@pytest.mark.usefixtures("_without_botocore")
def test_settings_that_nobody_reads_name_the_extra(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(tmp_path, monkeypatch, credentials=OWN, GROKPACK_S3_ENDPOINT=server.url)
    error = failure()
    assert error.code == "GP307"
    assert "grokpack[buckets]" in str(error.hint)
    assert "GROKPACK_ANONYMOUS=1" in str(error.hint)
    monkeypatch.setenv("GROKPACK_ANONYMOUS", "1")
    forget()
    assert http_backend.size(OBJECT) == 2
