"""Names below a folder, as buckets and the hub list them, page by page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.parsers import expat

from grokpack.core.errors import GrokpackError, MalformedInput, Place
from grokpack.formats import bounded_json
from grokpack.storage.http.range_requests import document
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.http.responses import Gone
from grokpack.storage.http.services import Bucket, Hub
from grokpack.storage.urls import WEB, Url, host_fault, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grokpack.storage.http.request_threads import Request

_PAGE_BYTES = 4 << 20  # a thousand keys of 1,024 bytes take 1 MB
_MOST_PAGES = 200
_MOST_NAMES = 1 << 18  # 200 pages of a thousand, and the other names of a page
_MOST_LEVELS = 16  # of nested elements; S3's pages have 4
_NEXT = re.compile(r'<([^<>]+)>;\s*rel="next"')


@dataclass(slots=True)
class Names:
    """Names directly in a folder or, if asked, all files below it.

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


def listed(path: str, site: Bucket | Hub, *, deep: bool = False) -> Names:
    """List a folder; the result is empty if there is none.

    Raises:
        responses.Refused: Listing is not allowed.
        GrokpackError: GP221 and GP223 as `range_requests.document`, GP209 for a response that is no
            listing.
    """
    url = parse(path)
    found, mark = Names(), None
    for _ in range(_MOST_PAGES):
        page = site.listing(url, deep=deep, after=mark)

        def ask(request: Request[Any], page: Any = page) -> tuple[bytes, str]:  # noqa: ANN401
            return document(request, page, _PAGE_BYTES)

        try:
            data, link = run_request(ask)
        except Gone:
            return found
        mark = (
            _hub_page(found, url, data, link, path)
            if isinstance(site, Hub)
            else _bucket_page(found, url, data, path)
        )
        if len(found.files) + len(found.folders) > _MOST_NAMES:
            raise _broken(path, f"it has more than {_MOST_NAMES:,} names")
        if mark is None:
            return found
    raise _broken(path, "it goes on without end")


def _bucket_page(found: Names, url: Url, data: bytes, path: str) -> str | None:
    """Add a page of S3's XML; return the marker of the next one."""
    try:
        texts = _Texts(("Key", "Prefix", "NextContinuationToken")).read(data)
    except expat.ExpatError as error:
        raise _broken(path, str(error)) from error
    except ValueError as error:
        raise _broken(path, str(error)) from None
    prefix = f"{url.path}/" if url.path else ""
    _enter(found.files, prefix, texts["Key"])
    _enter(found.folders, prefix, (text.rstrip("/") for text in texts["Prefix"]))
    return next(iter(texts["NextContinuationToken"]), None)


class _Texts:
    """Stream parser for the texts of some elements of an XML document; it builds no tree.

    Args:
        names: Names of the elements, without their namespaces.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._found: dict[str, list[str]] = {name: [] for name in names}
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
        return self._found

    @staticmethod
    def _declare(*_: object) -> None:
        message = "it defines entities"
        raise ValueError(message)

    def _begin(self, _name: str, _attributes: object) -> None:
        self._levels += 1
        if self._levels > _MOST_LEVELS:
            message = "its elements are nested too deep"
            raise ValueError(message)
        self._text = []

    def _take(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        own = self._found.get(name.rpartition("}")[2])
        if own is not None and self._levels > 1:
            own.append("".join(self._text or ()))
        self._levels, self._text = self._levels - 1, None


def _hub_page(found: Names, url: Url, data: bytes, link: str, path: str) -> str | None:
    """Add a page of the hub's JSON; return the marker of the next one."""
    rows = bounded_json.parse(data, Place(path))
    try:
        kinds = [(row["type"], row["path"]) for row in rows]
    except (KeyError, TypeError) as error:
        raise _broken(path, f"{type(error).__name__}: {error}") from error
    below = "/".join(url.path.split("/")[1:])
    prefix = f"{below}/" if below else ""
    _enter(found.files, prefix, (name for kind, name in kinds if kind == "file"))
    _enter(found.folders, prefix, (name for kind, name in kinds if kind == "directory"))
    match = _NEXT.search(link)
    return _next_page(match[1], path) if match else None


def _next_page(link: str, path: str) -> str:
    """Return the URL of a listing's next page, which a mirror may serve elsewhere."""
    try:
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
