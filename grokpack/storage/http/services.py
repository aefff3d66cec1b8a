"""Services behind each scheme: URLs of files, credentials and listings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from grokpack.core import redaction
from grokpack.core.errors import GrokpackError, Place
from grokpack.storage.http import aws_settings, settings
from grokpack.storage.http.aws_credentials import AwsCredentials
from grokpack.storage.http.bucket import Bucket, GoogleBucket, S3Bucket
from grokpack.storage.http.google_credentials import GoogleCredentials
from grokpack.storage.http.redirects import Resource, is_near
from grokpack.storage.urls import Url, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.storage.http.bucket import PageMark

GOOGLE = "https://storage.googleapis.com"
_EMULATOR = "STORAGE_EMULATOR_HOST"
HUB = "https://huggingface.co"
_HUB_TOKENS = "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"
_HUB_OFFLINE = "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"  # the first that is set counts
_NO_HUB_TOKEN = "HF_HUB_DISABLE_IMPLICIT_TOKEN"  # noqa: S105  # a variable's name
_PATH = "/~%:@!$&'()*+,;="  # characters that a web address may hold unquoted


@dataclass(slots=True)
class WebServer:
    """Web server, without credentials and listing."""

    def url(self, url: Url) -> str:
        """Return the address of a file."""
        return f"{url.scheme}://{url.host}/{quote(url.path, safe=_PATH)}"

    def headers(self, url: str) -> Mapping[str, str]:  # noqa: ARG002  # see `redirects.Site`
        """Return no credentials."""
        return {}

    def learn(self, *_: object) -> None:
        """Return None: a web server gives no advice."""

    def refused_hint(self, reason: str) -> str:  # noqa: ARG002  # see `Site`
        """Return the hint for refused access."""
        return "the server lets nobody read this without a password, which grokpack does not send"


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

    def about(self) -> str:
        """Return the address of a document that names the revision's commit."""
        revision = quote(self.revision, safe="")
        return f"{self.endpoint}/api/models/{quote(self.repo)}/revision/{revision}"

    def listing(self, url: Url, *, deep: bool, after: PageMark | None) -> Resource:
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

    def learn(self, *_: object) -> None:
        """Return None: the hub gives no advice."""

    def refused_hint(self, reason: str) -> str:
        """Return the hint for refused access."""
        if self.token is None:
            return f"it is private or gated, or does not exist: {self.no_token_hint()}"
        origin = self.token_origin()
        if reason.startswith("401"):
            how = f"make another at {self.endpoint}/settings/tokens"
            return f"the token of {origin} is not valid: it has expired, or was revoked; {how}"
        page = f"{self.endpoint}/{self.repo}"
        return f"the token of {origin} may not read this: ask for access at {page}"

    def no_token_hint(self) -> str:
        """Return what to do where there is no token."""
        switch = "GROKPACK_ANONYMOUS" if settings.is_anonymous() else _NO_HUB_TOKEN
        if settings.is_anonymous() or _is_on(_NO_HUB_TOKEN):
            return f"unset {switch}, which keeps tokens back"
        return "set HF_TOKEN, or `hf auth login`"

    def token_origin(self) -> str:
        """Return where the token comes from, for a hint."""
        return next(filter(os.environ.get, _HUB_TOKENS), "`hf auth login`")


def of(url: Url) -> WebServer | S3Bucket | GoogleBucket | Hub:
    """Return the site of a URL, always the same object."""
    if url.scheme == "hf":
        return hub(url)
    return bucket(url) if url.scheme in ("s3", "gs") else _web_server()


def hub(url: Url) -> Hub:
    """Return the site of a URL at the hub, always the same object."""
    name, _, revision = url.path.split("/")[0].partition("@")
    return _hub(f"{url.host}/{name}", unquote(revision) or "main")


def bucket(url: Url) -> S3Bucket | GoogleBucket:
    """Return the site of a URL in a bucket, always the same object."""
    return _s3_bucket(url.host) if url.scheme == "s3" else _google_bucket(url.host)


def resource(path: str) -> Resource:
    """Return a file as a resource to request."""
    url = parse(path)
    site = of(url)
    return Resource(path, site, lambda: site.url(url))


def is_at_hand(source: Resource) -> bool:
    """Return whether a request may run in place: the server is near, and keys need no other one."""
    return is_near(source) and not isinstance(source.site, Bucket)


@cache
def _web_server() -> WebServer:
    return WebServer()


@cache
def _s3_bucket(name: str) -> S3Bucket:
    where = aws_settings.find_region(), aws_settings.find_endpoint()
    return S3Bucket(name, _aws(), *where, aws_settings.find_addressing())


@cache
def _google_bucket(name: str) -> GoogleBucket:
    endpoint = settings.endpoint("GROKPACK_GS_ENDPOINT")
    emulator = None if endpoint else _google_emulator()
    credentials = GoogleCredentials(anonymous=True) if emulator else _google()
    return GoogleBucket(name, credentials, "auto", endpoint or emulator or GOOGLE)


def _google_emulator() -> str | None:
    """Return the URL of the emulator that Google's own clients ask, whose scheme may be left out.

    Raises:
        GrokpackError: GP224 if it is no web address.
    """
    host = os.environ.get(_EMULATOR, "").strip()
    url = host if not host or "://" in host else f"http://{host}"
    return settings.valid_endpoint(url, _EMULATOR) if url else None


@cache
def _aws() -> AwsCredentials:
    return AwsCredentials(anonymous=settings.is_anonymous())


@cache
def _google() -> GoogleCredentials:
    return GoogleCredentials(anonymous=settings.is_anonymous())


@cache
def _hub(repo: str, revision: str) -> Hub:
    offline = next(filter(os.environ.get, _HUB_OFFLINE), "")
    if _is_on(offline):
        what, hint = f"{offline} is set: the hub is not asked", "unset it, or name a folder"
        raise GrokpackError("GP243", what, Place(f"hf://{repo}"), hint=hint)
    token = _hub_token()
    redaction.add_secrets(token)
    return Hub(repo, revision, settings.endpoint("HF_ENDPOINT") or HUB, token)


def _is_on(variable: str) -> bool:
    """Return whether a variable of huggingface_hub is switched on, by its rules."""
    return os.environ.get(variable, "").upper() in settings.TRUE


def _hub_token() -> str | None:
    """Return the environment's token, else the one that `hf auth login` stored; None without."""
    if settings.is_anonymous() or _is_on(_NO_HUB_TOKEN):
        return None
    token = next(filter(None, map(settings.secret, _HUB_TOKENS)), None)
    if token is not None:
        return token
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(caches, "huggingface")
    place = os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")
    path = Path(os.path.expandvars(os.path.expanduser(place)))
    try:
        return (path.read_text(encoding="utf-8").strip() or None) if path.is_file() else None
    except (OSError, UnicodeDecodeError):  # as if not logged in
        return None


def forget() -> None:
    """Clear the cached sites and credentials, so that the environment is read again."""
    for kept in (
        _web_server,
        _s3_bucket,
        _google_bucket,
        _aws,
        _google,
        _hub,
        aws_settings.session,
    ):
        kept.cache_clear()


os.register_at_fork(after_in_child=forget)  # another thread may hold a lock of the credentials
