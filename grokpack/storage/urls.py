"""Paths that are URLs: `https://host/path`, `s3://bucket/key`, `gs://bucket/key`, `hf://repo`.

The program passes them as strings, like local paths: `os.path.join` extends them, and this module
splits them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from grokpack.core.errors import GrokpackError, Place

WEB = ("http", "https")
SCHEMES = (*WEB, "s3", "gs", "hf")
_MARK = "://"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[\w.-]{1,253})(:\d{1,5})?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_REPOSITORY = re.compile(
    r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)"
    r"(?:/(?:tree|blob|resolve|raw)(?:/(?P<revision>[^/]+))?)?(?P<below>(?:/.*)?)"
)
_NO_OWNERS = ("api", "blog", "collections", "datasets", "docs", "models", "papers", "spaces")
_NO_NAME = "its first part is no name of a bucket or an owner"
_ROOT_PARTS = {"hf": 1}  # parts of the path that belong to the root: `hf://org/repo`


def is_url(path: str) -> bool:
    """Return whether a path is a URL; local paths never are."""
    scheme, mark, _ = path.partition(_MARK)
    return bool(mark) and scheme.isalnum()


@dataclass(frozen=True, slots=True)
class Url:
    """Parts of a URL.

    Attributes:
        scheme: One of `SCHEMES`.
        host: Host and port, bucket, or owner.
        path: The rest, without slashes around it.
    """

    scheme: str
    host: str
    path: str

    def __str__(self) -> str:
        """Render the URL, without a slash at its end."""
        return f"{self.scheme}{_MARK}{self.host}" + (f"/{self.path}" if self.path else "")


def parse(url: str) -> Url:
    """Split a URL into its parts; a page of the hub's site is a repository, `hf://`.

    Raises:
        GrokpackError: GP224 for an unknown scheme, and for parts that would be lost or misread when
            names are joined to it.
    """
    scheme, _, rest = url.partition(_MARK)
    host, _, path = rest.partition("/")
    path = path.strip("/")
    if scheme not in SCHEMES:
        raise _unusable(url, f"`{scheme}` is none of {', '.join(SCHEMES)}")
    if not host or "@" in host:
        raise _unusable(url, "it names no host" if not host else "it holds a user's name")
    if any(mark in rest for mark in "?#\\") or not rest.isprintable():
        raise _unusable(url, "a query, a fragment or such characters cannot be part of a folder")
    if any(part in ("", ".", "..") for part in path.split("/")) and path:
        raise _unusable(url, "its path is not a plain one")
    fault = host_fault(host) if scheme in WEB else None if _NAME.fullmatch(host) else _NO_NAME
    if fault is not None:
        raise _unusable(url, fault)
    if scheme == "hf" and not path:
        raise _unusable(url, "a repository is named as hf://OWNER/NAME")
    page = _repository(path) if scheme in WEB and host.lower() in _HUB_HOSTS else None
    return parse(page) if page else Url(scheme, host, path)


def _repository(path: str) -> str | None:
    """Return the `hf://` URL of what a page of the hub shows; None for other pages."""
    match = _REPOSITORY.fullmatch(path)
    if match is None or match["owner"] in _NO_OWNERS:
        return None
    revision = f"@{match['revision']}" if match["revision"] else ""
    return f"hf://{match['owner']}/{match['name']}{revision}{unquote(match['below'])}"


def host_fault(host: str) -> str | None:
    """Explain why this cannot be the host and port of a web address; None if it can."""
    if _HOST.fullmatch(host) is None:
        return "it names no host that can be"
    try:
        parts = urlsplit(f"//{host}")
        (parts.hostname or "").encode("idna")
        port = parts.port
    except ValueError as error:  # UnicodeError is a ValueError
        return str(error)
    return "there is no port 0" if port == 0 else None


def parent(url: str) -> str:
    """Return the URL of the folder above; the root is its own."""
    parts = parse(url)
    above = parts.path.split("/")[:-1]
    if len(above) < _ROOT_PARTS.get(parts.scheme, 0):
        return str(parts)
    return str(Url(parts.scheme, parts.host, "/".join(above)))


def _unusable(url: str, why: str) -> GrokpackError:
    hint = "give a URL such as https://host/folder, s3://bucket/folder or hf://owner/name"
    shown = url.encode("unicode_escape").decode("ascii")
    return GrokpackError("GP224", f"this URL cannot be used: {why}", Place(shown), hint=hint)
