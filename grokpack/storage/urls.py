"""Paths that are URLs: `https://host/path`, `s3://bucket/key`, `gs://bucket/key`, `hf://repo`.

The program passes them as strings, like local paths: `os.path.join` extends them, and this module
splits them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from grokpack.core.errors import GrokpackError, Place
from grokpack.core.escaping import escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB = ("http", "https")
SCHEMES = (*WEB, "s3", "gs", "hf")
_MARK = "://"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[\w.-]{1,253})(:\d{1,5})?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_VIEWS = "blame|blob|commits?|edit|raw|resolve|tree"
_REPOSITORY = re.compile(
    r"(?:api/)?(?:models/)?(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?"
    rf"(?:/(?:{_VIEWS})(?:/(?P<revision>refs/[^/]+/[^/]+|[^/]+))?)?(?P<below>(?:/.*)?)"
)
_PULL_REQUEST = re.compile(r"([^/@]+@refs)/(pr|convert)/([^/]+)")
_NO_OWNERS = ("api", "blog", "collections", "datasets", "docs", "models", "papers", "spaces")
_SLIP = re.compile(r"([a-z][a-z0-9-]{1,15}):(/*)(.*)", re.IGNORECASE | re.DOTALL)
_OTHER_SCHEMES = {"gcs": "gs", "hf-hub": "hf", "huggingface": "hf", "s3a": "s3", "s3n": "s3"}
_FORMS = {"hf": "OWNER/NAME", "s3": "BUCKET/FOLDER", "gs": "BUCKET/FOLDER"}
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
    page = _hub_page(rest) if scheme in WEB else None
    if page is not None:
        return parse(page)
    host, _, path = rest.partition("/")
    path = path.strip("/")
    fault = next(_faults(scheme, host, path, rest), None)
    if fault is not None:
        raise _unusable(url, fault)
    if scheme == "hf":
        path = _PULL_REQUEST.sub(r"\1%2F\2%2F\3", path, count=1)
    return Url(scheme, host, path)


def _faults(scheme: str, host: str, path: str, rest: str) -> Iterator[str | None]:
    """Yield why these cannot be the parts of a URL; at last the fault of its host, or None."""
    if scheme not in SCHEMES:
        yield f"`{scheme}` is none of {', '.join(SCHEMES)}"
    if not host or "@" in host:
        yield "it names no host" if not host else "it holds a user's name"
    if any(mark in rest for mark in "?#\\") or not rest.isprintable():
        yield "a query, a fragment or such characters cannot be part of a folder"
    if path and {"", ".", ".."} & {*path.split("/")}:
        yield "its path is not a plain one"
    if scheme not in WEB and _NAME.fullmatch(host) is None:
        yield "its first part is no name of a bucket or an owner"
    if scheme == "hf" and host in _NO_OWNERS:
        yield f"`{host}` is no owner of models, which are hf://OWNER/NAME"
    if scheme == "hf" and not path:
        yield "a repository is named as hf://OWNER/NAME"
    yield host_fault(host) if scheme in WEB else None


def _hub_page(rest: str) -> str | None:
    """Return the `hf://` URL of what a page of the hub shows; None for other addresses.

    A page is one of the site, or of the mirror that the environment names. What follows a question
    mark or a number sign is how it is shown: `?download=true`, `#files`.
    """
    host, _, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    address = f"{host.lower().removesuffix(':443')}/{path}"
    mirror = os.environ.get("HF_ENDPOINT", "").partition(_MARK)[2].strip().strip("/")
    sites = (site for site in (*_HUB_HOSTS, mirror) if site and address.startswith(f"{site}/"))
    site = next(sites, None)
    match = site and _REPOSITORY.fullmatch(address.removeprefix(site).strip("/"))
    if not match or match["owner"] in _NO_OWNERS:
        return None
    revision = "@" + match["revision"].replace("/", "%2F") if match["revision"] else ""
    return f"hf://{match['owner']}/{match['name']}{revision}{unquote(match['below'])}"


def meant_url(path: str) -> str | None:
    """Return the URL or path that was probably meant by one that is written in another way.

    None where nothing else is known. Of `hf:owner/name`, `HF://owner/name` and
    `huggingface.co/owner/name` it is `hf://owner/name`; of `file:///folder`, the folder.
    """
    match = _SLIP.fullmatch(path)
    if match is None:
        return _hub_page(path)
    scheme, slashes, rest = match[1].lower(), match[2], match[3]
    scheme = _OTHER_SCHEMES.get(scheme, scheme)
    if scheme == "file":
        return ("/" if slashes else "") + rest
    if scheme not in SCHEMES:
        return None
    if scheme == "hf" and "@" not in rest:
        page = _hub_page(f"{_HUB_HOSTS[0]}/{rest}")
    else:
        page = _hub_page(rest) if scheme in WEB else None
    meant = page or f"{scheme}{_MARK}{rest or _FORMS.get(scheme, 'HOST/FOLDER')}"
    return meant if meant != path else None


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
    meant = meant_url(url)
    hint = (
        f"did you mean `{escape_line(meant)}`?"
        if meant
        else "give a URL such as https://host/folder, s3://bucket/folder or hf://owner/name"
    )
    shown = url.encode("unicode_escape").decode("ascii")
    return GrokpackError("GP224", f"this URL cannot be used: {why}", Place(shown), hint=hint)
