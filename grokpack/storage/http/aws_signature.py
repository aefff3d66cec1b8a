"""AWS Signature Version 4, which authenticates requests to S3, and its keys.

Rules: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import configparser
import hashlib
import hmac
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from grokpack.core import redaction
from grokpack.storage.http import settings

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_CREDENTIALS = "AWS_SHARED_CREDENTIALS_FILE", "credentials"
_CONFIG = "AWS_CONFIG_FILE", "config"
"""Variable and name of each of AWS's two files."""
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials of a requester."""

    name: str
    secret: str
    token: str | None = None


def find_keys() -> Keys | None:
    """Find keys in the environment, else in the profile of the credentials file; else None.

    For keys from elsewhere (single sign-on, a machine's role), `aws configure export-credentials
    --format env` puts them into the environment.
    """
    found = _keys()
    if found is not None:
        redaction.add_secrets(found.name, found.secret, found.token)
    return found


def _keys() -> Keys | None:
    name, secret = settings.secret("AWS_ACCESS_KEY_ID"), settings.secret("AWS_SECRET_ACCESS_KEY")
    if name and secret:
        return Keys(name, secret, settings.secret("AWS_SESSION_TOKEN"))
    row = _profile(*_CREDENTIALS) or {}
    if "aws_access_key_id" in row and "aws_secret_access_key" in row:
        token = row.get("aws_session_token")
        return Keys(row["aws_access_key_id"], row["aws_secret_access_key"], token)
    return None


def tensorstores(keys: Keys | None) -> dict[str, str]:
    """Describe to TensorStore where to find these keys, because its specs hold none."""
    if keys is None:
        return {"type": "anonymous"}
    if keys.name == os.environ.get("AWS_ACCESS_KEY_ID"):
        return {"type": "environment"}
    return {
        "type": "profile",
        "profile": _profile_name(),
        "credentials_file": _file(*_CREDENTIALS),
        "config_file": os.devnull,  # it must exist
    }


def find_region() -> str | None:
    """Find the region in the environment, else in the profile of the config file."""
    named = settings.region("AWS_REGION", "AWS_DEFAULT_REGION")
    return named or (_profile(*_CONFIG) or {}).get("region")


def check_profile() -> None:
    """Check that the profile that the environment names is in one of AWS's two files.

    Raises:
        GrokpackError: GP304 if it is in none, as a mistyped one is.
    """
    named = os.environ.get("AWS_PROFILE")
    files = _CREDENTIALS, _CONFIG
    if not named or any(_profile(*file) is not None for file in files):
        return
    places = " and ".join(_file(*file) for file in files)
    raise settings.unusable("AWS_PROFILE", f"there is no profile `{named}` in {places}")


def _profile_name() -> str:
    return os.environ.get("AWS_PROFILE") or "default"


def _file(variable: str, name: str) -> str:
    return os.environ.get(variable) or str(Path.home() / ".aws" / name)


def _profile(variable: str, name: str) -> dict[str, str] | None:
    """Return the profile's section of one of AWS's two files; None if there is none."""
    path, profile = _file(variable, name), _profile_name()
    if not os.path.isfile(path):  # reading a pipe might never end
        return None
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return None
    for section in (profile, f"profile {profile}"):
        if parser.has_section(section):
            return dict(parser.items(section))
    return None


def sign(url: str, region: str, keys: Keys, now: datetime | None = None) -> dict[str, str]:
    """Return the headers that sign a GET of a URL.

    Args:
        url: Percent-encoded, as it is sent.
        region: The bucket's region.
        keys: Credentials of the requester.
        now: The time; by default that of the clock.
    """
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    headers = {
        "host": parts.netloc,
        "x-amz-content-sha256": EMPTY_SHA256,
        "x-amz-date": moment,
    }
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    query = sorted((_encoded(k), _encoded(v)) for k, v in parse_qsl(parts.query, True))  # noqa: FBT003
    request = "\n".join(
        (
            "GET",
            parts.path or "/",
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            names,
            EMPTY_SHA256,
        )
    )
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"{_ALGORITHM}\n{moment}\n{scope}\n{digest}"
    key = f"AWS4{keys.secret}".encode()
    for piece in (moment[:8], region, "s3", "aws4_request"):
        key = _hmac(key, piece)
    signature = _hmac(key, text).hex()
    del headers["host"]  # added by the connection
    credential = f"Credential={keys.name}/{scope}"
    headers["Authorization"] = (
        f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
