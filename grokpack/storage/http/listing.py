"""Names below a folder, as buckets and the hub list them, page by page."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, urljoin, urlsplit
from xml.parsers import expat

from grokpack.core.errors import GrokpackError, MalformedInput, Place
from grokpack.formats import bounded_json
from grokpack.storage.http.range_requests import document, refused
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.http.responses import FileGone, RefusedRequest, plain
from grokpack.storage.http.services import Hub
from grokpack.storage.urls import WEB, Url, host_fault, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from grokpack.storage.http.bucket import Bucket, PageMark
    from grokpack.storage.http.redirects import Resource
    from grokpack.storage.http.request_threads import Request

    TakePage = Callable[[Resource, bytes, str], PageMark | None]

PAGE_BYTES = 4 << 20  # a thousand keys of 1,024 bytes take 3 MB, each byte as %XX
_MOST_PAGES = 200
_MOST_NAMES = 1 << 18  # 200 pages of a thousand, and the other names of a page
_MOST_LEVELS = 16  # of nested elements; S3's pages have 4
_LINK = re.compile(r'<([^<>]+)>((?:\s*;\s*[\w*-]+(?:\s*=\s*(?:"[^"]*"|[^\s",;]*))?)*)')
_NEXT = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next[\s"]|next\b)', re.IGNORECASE)
"""A link of the header `Link` with its parameters, and the one that leads to the next page."""
_LISTING = "ListBucketResult"
_NAMES = ("Key", "NextMarker", "Prefix")  # elements that hold names of objects
_ABOUT = ("EncodingType", "IsTruncated", "MaxKeys", "NextContinuationToken")
_TRUE = ("true", "1")
_AFTER_SLASH = chr(ord("/") + 1)  # sorts right behind everything below a folder
_FOLDER_MARKER = "_$folder$"  # ends the names of empty objects that stand for Hadoop's folders


@dataclass
class Listing:
    """Names directly in a folder or, if asked, all files below it.

    `below` is for those that are complete.

    Attributes:
        files: Paths of files, relative to the folder.
        folders: Names of folders in it.
        sought: Names that were probed, if the server lists nothing.
    """

    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    sought: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """True if nothing was found."""
        return not self.files and not self.folders

    @cached_property
    def _ordered(self) -> list[str]:
        return sorted(self.files)

    def below(self, folder: str) -> set[str]:
        """Return the files below a folder in this one, relative to it."""
        first, last = (bisect_left(self._ordered, folder + end) for end in ("/", _AFTER_SLASH))
        return {path[len(folder) + 1 :] for path in self._ordered[first:last]}


def listed(path: str, site: Bucket | Hub, *, deep: bool = False) -> Listing:
    """List a folder; the result is empty if there is none.

    Raises:
        responses.RefusedRequest: Listing is not allowed.
        GrokpackError: GP221 and GP223 as `range_requests.document`, GP209 for a response that is no
            listing.
    """
    url, found = parse(path), Listing()

    def take(page: Resource, data: bytes, link: str) -> PageMark | None:
        mark = (
            _hub_page(found, url, data, _next_page(link, page.url(), path), path)
            if isinstance(site, Hub)
            else _bucket_page(found, url, data, path)
        )
        _check_count(len(found.files) + len(found.folders), path)
        return mark

    _read_pages(path, site, take, deep=deep)
    return found


def hub_rows(path: str, site: Hub) -> list[Any]:
    """Return the hub's row of each file and folder below one; none if there is no folder.

    Raises:
        GrokpackError: As `listed`; GP222 if listing is not allowed.
    """
    found: list[Any] = []

    def take(page: Resource, data: bytes, link: str) -> PageMark | None:
        found.extend(_rows(data, path))
        _check_count(len(found), path)
        return _page_mark(_next_page(link, page.url(), path))

    try:
        _read_pages(path, site, take, deep=True)
    except RefusedRequest as error:
        raise refused(site.listing(parse(path), deep=True, after=None), str(error)) from None
    return found


def _read_pages(path: str, site: Bucket | Hub, take: TakePage, *, deep: bool) -> None:
    """Read all pages of a listing, each of which says where the next one begins.

    Args:
        path: Path of the folder.
        site: The site that lists it.
        take: Takes a page, its contents and its `Link` header; returns where the next one begins.
        deep: True for all files below the folder.
    """
    mark: PageMark | None = None
    seen: set[PageMark | None] = {None}
    for _ in range(_MOST_PAGES):
        page = site.listing(parse(path), deep=deep, after=mark)
        response = _asked(page, path, first=mark is None)
        if response is None:
            return
        data, link = response
        mark = take(page, data, link)
        if mark is None:
            return
        if mark in seen:
            raise _broken(path, "a page leads to one that came before")
        seen.add(mark)
    raise _broken(path, "it goes on without end")


def _check_count(names: int, path: str) -> None:
    if names > _MOST_NAMES:
        raise _broken(path, f"it has more than {_MOST_NAMES:,} names")


def _asked(page: Resource, path: str, *, first: bool) -> tuple[bytes, str] | None:
    """Return a page and its `Link` header; None if there is no folder.

    Pages after the first must be there: without them a part would be taken for the whole.
    """

    def ask(request: Request[Any]) -> tuple[bytes, str]:
        return document(request, page, PAGE_BYTES)

    try:
        return run_request(ask)
    except FileGone as error:
        if first:
            return None
        raise _broken(path, f"its next page is gone: {error}") from None
    except RefusedRequest as error:
        if first:
            raise
        raise _broken(path, f"its next page is refused: {error}") from None


def _bucket_page(found: Listing, url: Url, data: bytes, path: str) -> PageMark | None:
    """Add a page of S3's XML; return where the next one begins."""
    texts = _Texts((*_NAMES, *_ABOUT))
    try:
        texts.read(data)
    except expat.ExpatError as error:
        raise _broken(path, str(error)) from error
    except ValueError as error:
        raise _broken(path, str(error)) from None
    if texts.root != _LISTING:
        raise _broken(path, f"it is a document of the kind `{plain(texts.root)}`")
    if "url" in texts.found["EncodingType"]:
        for name in _NAMES:
            texts.found[name] = [unquote_plus(text) for text in texts.found[name]]
    prefix = f"{url.path}/" if url.path else ""
    keys, folders = texts.found["Key"], texts.found["Prefix"]
    _enter(found.files, prefix, (key for key in keys if not key.endswith(_FOLDER_MARKER)))
    _enter(found.folders, prefix, (text.rstrip("/") for text in folders))
    return _next_mark(texts, path)


def _next_mark(texts: _Texts, path: str) -> PageMark | None:
    """Return where the next page of a bucket begins; None after the last one.

    Servers of version 1 ignore the version that was asked for. They say only that a page was cut
    and give a marker or, where names are not grouped, none: it is the last name then.
    """
    token, marker = (
        next(filter(None, texts.found[name]), "")
        for name in ("NextContinuationToken", "NextMarker")
    )
    if token:
        return "continuation-token", token
    if not _is_cut(texts):
        return None
    last = max((*texts.found["Key"], *texts.found["Prefix"]), default="")
    marker = next(filter(None, texts.found["NextMarker"]), last)
    if not marker:
        raise _broken(path, "it was cut, and nothing says where it goes on")
    return "marker", marker


def _is_cut(texts: _Texts) -> bool:
    """Return whether a page says that more names follow, or is full and says nothing.

    Full it is of objects and folders together. One `Prefix` more is that of the listing itself.
    """
    said = texts.found["IsTruncated"]
    if said:
        return any(text.strip().lower() in _TRUE for text in said)
    most = next(iter(texts.found["MaxKeys"]), "").strip()
    names = len(texts.found["Key"]) + len(texts.found["Prefix"]) - 1
    return most.isdecimal() and 0 < int(most) <= names


class _Texts:
    """Stream parser for the texts of some elements of an XML document; it builds no tree.

    Args:
        names: Names of the elements, without their namespaces.

    Attributes:
        found: Texts by element.
        root: Name of the outermost element.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.found: dict[str, list[str]] = {name: [] for name in names}
        self.root = ""
        self._levels = 0
        self._text: list[str] | None = None

    def read(self, data: bytes) -> dict[str, list[str]]:
        """Return the texts by element.

        Raises:
            ValueError: The document declares a DTD, or is nested deeper than listings are.
            xml.parsers.expat.ExpatError: It is not XML.
        """
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._declare
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._take
        parser.Parse(data, True)  # noqa: FBT003  # expat's own: nothing follows
        return self.found

    @staticmethod
    def _declare(*_: object) -> None:
        message = "it declares a document type, as a web page does"
        raise ValueError(message)

    def _begin(self, name: str, _attributes: object) -> None:
        self.root = self.root or name.rpartition("}")[2]
        self._levels += 1
        if self._levels > _MOST_LEVELS:
            message = "its elements are nested too deep"
            raise ValueError(message)
        self._text = []

    def _take(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        own = self.found.get(name.rpartition("}")[2])
        if own is not None and self._levels > 1:
            own.append("".join(self._text or ()))
        self._levels, self._text = self._levels - 1, None


def _hub_page(found: Listing, url: Url, data: bytes, link: str, path: str) -> PageMark | None:
    """Add a page of the hub's JSON; return where the next one begins."""
    try:
        kinds = [(row["type"], row["path"]) for row in _rows(data, path)]
    except (KeyError, TypeError) as error:
        raise _broken(path, f"{type(error).__name__}: {error}") from error
    below = "/".join(url.path.split("/")[1:])
    prefix = f"{below}/" if below else ""
    _enter(found.files, prefix, (name for kind, name in kinds if kind == "file"))
    _enter(found.folders, prefix, (name for kind, name in kinds if kind == "directory"))
    return _page_mark(link)


def _rows(data: bytes, path: str) -> list[Any]:
    """Parse a page of the hub's JSON."""
    rows = bounded_json.parse(data, Place(path))
    if not isinstance(rows, list):
        raise _broken(path, "it is no list")
    return rows


def _page_mark(link: str) -> PageMark | None:
    return ("page", link) if link else None


def _next_page(header: str, asked: str, path: str) -> str:
    """Return the URL of the page after one, which a mirror may serve elsewhere; empty if none."""
    target = next((link[1] for link in _LINK.finditer(header) if _NEXT.search(link[2])), None)
    if target is None:
        return ""
    try:
        link = str(urljoin(asked, target))
        parts = urlsplit(link)
    except ValueError as error:
        raise _broken(path, str(error)) from error
    if parts.scheme not in WEB or host_fault(parts.netloc) is not None:
        raise _broken(path, "its next page has no web address")
    return link


def _enter(names: set[str], prefix: str, paths: Iterable[object]) -> None:
    for path in paths:
        if isinstance(path, str) and path.startswith(prefix) and is_plain(path[len(prefix) :]):
            names.add(path[len(prefix) :])


def is_plain(path: str) -> bool:
    """Return whether a relative path stays below its folder and is printable."""
    parts = path.split("/")
    return path.isprintable() and "\\" not in path and not {"", ".", ".."} & set(parts)


def _broken(path: str, why: str) -> GrokpackError:
    return MalformedInput(f"the listing is broken: {why[:200]}", Place(path))
