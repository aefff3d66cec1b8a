"""Services behind each scheme: URLs of files, credentials and listings."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from grokpack.core import redaction
from grokpack.core.version import AGENT
from grokpack.storage.http import aws_signature, settings
from grokpack.storage.http.redirects import Resource
from grokpack.storage.urls import Url, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = "/~"  # characters that S3 leaves unquoted in a path, beside letters, digits, - _ and .
_PATH = "/~%:@!$&'()*+,;="  # characters that a web address may hold unquoted
_SOMEWHERE = "us-east-1"  # region in a signature if none is known
Mark = tuple[str, str]
"""Where the next page of a listing begins: the name and the value of a parameter."""
_REGION = re.compile(rb"<Region>([A-Za-z0-9-]{1,60})</Region>")
_S3_HINTS = {
    "AuthorizationHeaderMalformed": "set AWS_REGION to the region of the bucket's server",
    "InvalidAccessKeyId": "these keys are not known there: see that they are this service's",
    "RequestTimeTooSkewed": "set this machine's clock: signatures are good for a few minutes",
    "SignatureDoesNotMatch": "the secret key is not that of the access key; give both again",
}
GOOGLE = "https://storage.googleapis.com"
HUB = "https://huggingface.co"


@dataclass(slots=True)
class Plain:
    """Web server, without credentials and listing."""

    def url(self, url: Url) -> str:
        """Return the address of a file."""
        return f"{url.scheme}://{url.host}/{quote(url.path, safe=_PATH)}"

    def kvstore(self, url: Url, below: str) -> dict[str, Any]:
        """Return TensorStore's spec of a path below a URL."""
        return _web_store(self.url(url), below, {})

    def headers(self, url: str) -> Mapping[str, str]:  # noqa: ARG002  # see `routes.Site`
        """Return no credentials."""
        return {}

    def learn(self, headers: Mapping[str, str], body: bytes) -> bool:  # noqa: ARG002  # see `Site`
        """Return False: a web server gives no advice."""
        return False

    def refused_hint(self, reason: str) -> str:  # noqa: ARG002  # see `Site`
        """Return the hint for refused access."""
        return "the server lets nobody read this without a password, which grokpack does not send"


@dataclass(slots=True)
class Bucket:
    """Bucket of S3, of a compatible service, or of Google Cloud Storage.

    Attributes:
        name: Name of the bucket.
        google: True if it is Google's.
        region: Its region, if known.
        keys: Credentials for signatures; None for public access.
        token: Google's access token.
        endpoint: URL of the service; None for AWS.
    """

    name: str
    google: bool = False
    region: str | None = field(default_factory=aws_signature.find_region)
    keys: aws_signature.Keys | None = None
    token: str | None = None
    endpoint: str | None = None

    def base(self) -> str:
        """Return the bucket's URL."""
        if self.endpoint:
            return f"{self.endpoint.rstrip('/')}/{self.name}"
        where = f"s3.{self.region}.amazonaws.com" if self.region else "s3.amazonaws.com"
        if "." in self.name:  # its certificate would not match
            return f"https://{where}/{self.name}"
        return f"https://{self.name}.{where}"

    def url(self, url: Url) -> str:
        """Return the address of an object."""
        return f"{self.base()}/{quote(url.path, safe=_KEY)}"

    def kvstore(self, url: Url, below: str) -> dict[str, Any]:
        """Return TensorStore's spec; Google's buckets are read as a web server, with the token."""
        if self.google:
            return _web_store(self.url(url), below, self.headers(self.base()))
        found = {
            "driver": "s3",
            "bucket": self.name,
            "path": f"{url.path}/{below}".lstrip("/"),
            "aws_credentials": aws_signature.tensorstores(self.keys),
        }
        if self.endpoint:
            found["endpoint"] = self.endpoint.rstrip("/")
        if self.region or self.endpoint:  # otherwise TensorStore asks S3 for the region
            found["aws_region"] = self.region or _SOMEWHERE
        return found

    def listing(self, url: Url, *, deep: bool, after: Mark | None) -> Resource:
        """Return a page of ListObjectsV2, which Google supports as well.

        After a marker it is a page of version 1, which is all that some servers speak.
        """
        query = {"prefix": f"{url.path}/" if url.path else ""} | (
            {} if deep else {"delimiter": "/"}
        )
        query |= dict([after] if after else [])
        if "marker" not in query:
            query["list-type"] = "2"
        text = urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")
        return Resource(str(url), self, lambda: f"{self.base()}/?{text}")

    def headers(self, url: str) -> Mapping[str, str]:
        """Return a signature or Google's token, if the host is the bucket's."""
        if urlsplit(url).netloc != urlsplit(self.base()).netloc:
            return {}
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        return aws_signature.sign(url, self.region or _SOMEWHERE, self.keys) if self.keys else {}

    def learn(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Learn the region, which S3 names when it was asked in another one."""
        found = _REGION.search(body)
        told = headers.get("x-amz-bucket-region") or (found[1].decode() if found else None)
        matters = self.keys is not None or self.endpoint is None
        if self.google or not matters or not told or told == self.region:
            return False
        if not all(c.isalnum() or c == "-" for c in told):
            return False
        self.region = told
        return True

    def refused_hint(self, reason: str) -> str:
        """Return the hint for refused access."""
        if self.google:
            how = "export GOOGLE_OAUTH_ACCESS_TOKEN=$(gcloud auth print-access-token)"
        else:
            how = 'eval "$(aws configure export-credentials --format env)"'
        for code, hint in _S3_HINTS.items():
            if code in reason and self.keys:
                return hint
        if (self.token and reason.startswith("401")) or "Token" in reason:
            return f"the token that was sent has expired, or was revoked; get another:\n{how}"
        if self.keys or self.token:
            return f"the keys that were found do not allow it; others, for example:\n{how}"
        return f"the bucket is not public; give keys, for example:\n{how}"


@dataclass(slots=True)
class Hub:
    """Repository of models at Hugging Face.

    Attributes:
        repo: `owner/name`.
        revision: A branch, a tag or a commit.
        endpoint: The site, or a mirror.
        token: Access token; None for public access.
    """

    repo: str
    revision: str
    endpoint: str
    token: str | None

    def _below(self, url: Url) -> str:
        return "/".join(quote(part) for part in url.path.split("/")[1:])

    def url(self, url: Url) -> str:
        """Return the address of a file."""
        revision = quote(self.revision, safe="")
        return f"{self.endpoint}/{quote(self.repo)}/resolve/{revision}/{self._below(url)}"

    def kvstore(self, url: Url, below: str) -> dict[str, Any]:
        """Return TensorStore's spec of a path below a URL."""
        return _web_store(self.url(url), below, self.headers(self.endpoint))

    def listing(self, url: Url, *, deep: bool, after: Mark | None) -> Resource:
        """Return a page of the tree; the mark of a page is its URL."""
        below = self._below(url)
        revision = quote(self.revision, safe="")
        first = f"{self.endpoint}/api/models/{quote(self.repo)}/tree/{revision}"
        first += (f"/{below}" if below else "") + ("?recursive=true" if deep else "")
        return Resource(str(url), self, lambda: after[1] if after else first)

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the token, for the site itself and not for the targets of its redirects."""
        if self.token and urlsplit(url).netloc == urlsplit(self.endpoint).netloc:
            return {"Authorization": f"Bearer {self.token}"}
        return {}

    def learn(self, headers: Mapping[str, str], body: bytes) -> bool:  # noqa: ARG002  # see `Site`
        """Return False: the hub gives no advice."""
        return False

    def refused_hint(self, reason: str) -> str:
        """Return the hint for refused access."""
        if self.token is None:
            return "the repository is private or gated: set HF_TOKEN, or `hf auth login`"
        origin = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "`hf auth login`"
        if reason.startswith("401"):
            how = f"make another at {self.endpoint}/settings/tokens"
            return f"the token of {origin} is not valid: it has expired, or was revoked; {how}"
        page = f"{self.endpoint}/{self.repo}"
        return f"the token of {origin} may not read this: ask for access at {page}"


def of(url: Url) -> Plain | Bucket | Hub:
    """Return the site of a URL, always the same object."""
    if url.scheme == "hf":
        name, _, revision = url.path.split("/")[0].partition("@")
        return _hub(f"{url.host}/{name}", unquote(revision) or "main")
    if url.scheme in ("s3", "gs"):
        return _bucket(url.scheme, url.host)
    return _plain()


def resource(path: str) -> Resource:
    """Return a file as a resource to request."""
    url = parse(path)
    site = of(url)
    return Resource(path, site, lambda: site.url(url))


def kvstore(folder: str, below: str) -> dict[str, Any]:
    """Return TensorStore's spec of a path below a folder, with grokpack's keys and endpoint.

    Args:
        folder: A URL.
        below: A path below it; a folder's ends in a slash.
    """
    url = parse(folder)
    return of(url).kvstore(url, below)


def _web_store(url: str, below: str, headers: Mapping[str, str]) -> dict[str, Any]:
    base = f"{url.rstrip('/')}/{quote(below, safe=_PATH)}"
    headers = {"User-Agent": f"{AGENT} tensorstore", **headers}
    return {
        "driver": "http",
        "base_url": base,
        "headers": [f"{name}: {text}" for name, text in headers.items()],
    }


@cache
def _plain() -> Plain:
    return Plain()


@cache
def _bucket(scheme: str, name: str) -> Bucket:
    open_to_all = bool(os.environ.get("GROKPACK_ANONYMOUS"))
    if scheme == "gs":
        endpoint = settings.endpoint("GROKPACK_GS_ENDPOINT") or GOOGLE
        token = None if open_to_all else settings.secret("GOOGLE_OAUTH_ACCESS_TOKEN")
        redaction.add_secrets(token)
        return Bucket(name, google=True, region="auto", token=token, endpoint=endpoint)
    aws_signature.check_profile()
    own = settings.endpoint("GROKPACK_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return Bucket(name, keys=None if open_to_all else aws_signature.find_keys(), endpoint=own)


@cache
def _hub(repo: str, revision: str) -> Hub:
    token = _hub_token()
    redaction.add_secrets(token)
    return Hub(repo, revision, settings.endpoint("HF_ENDPOINT") or HUB, token)


def _hub_token() -> str | None:
    """Return HF_TOKEN, else the token that `hf auth login` stored; None without."""
    if os.environ.get("GROKPACK_ANONYMOUS"):
        return None
    token = settings.secret("HF_TOKEN")
    if token is not None:
        return token
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    place = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token")
    try:
        return (place.read_text(encoding="utf-8").strip() or None) if place.is_file() else None
    except (OSError, UnicodeDecodeError):  # as if not logged in
        return None


def forget() -> None:
    """Clear the cached sites, so that the environment is read again."""
    for kept in (_plain, _bucket, _hub):
        kept.cache_clear()
