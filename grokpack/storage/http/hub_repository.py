"""Repositories of the hub: the commit that a revision stands for, and what is said of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from grokpack.core.errors import GrokpackError, MalformedInput, Place
from grokpack.formats import bounded_json
from grokpack.storage.http import range_requests, services
from grokpack.storage.http.listing import PAGE_BYTES, hub_rows
from grokpack.storage.http.redirects import Resource
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.http.responses import FileGone, RefusedRequest
from grokpack.storage.urls import parse

if TYPE_CHECKING:
    from grokpack.storage.http.request_threads import Request


def published_files(name: str, revision: str) -> tuple[str, list[Any]]:
    """Return the commit of a revision, and the row of each file and folder as the hub lists it.

    Args:
        name: `OWNER/NAME`.
        revision: A branch, a tag or a commit.

    Raises:
        GrokpackError: GP230 if there is no such revision, GP222 if it may not be read, GP209 for an
            answer that is none, GP221, GP223 and GP243 as reading has them.
    """
    path = _path(name, revision)
    about = bounded_json.parse(_about(path), Place(path))
    commit = about.get("sha") if isinstance(about, dict) else None
    if not isinstance(commit, str) or not commit.isalnum():
        raise MalformedInput("the hub names no commit", Place(path))
    return commit, hub_rows(_path(name, commit), services.hub(parse(_path(name, commit))))


def _about(path: str) -> bytes:
    """Return the document of a revision."""
    site = services.hub(parse(path))
    resource = Resource(path, site, site.about)

    def ask(request: Request[Any]) -> bytes:
        return range_requests.document(request, resource, PAGE_BYTES)[0]

    try:
        return run_request(ask)
    except FileGone as error:
        facts = (("answer", str(error)),)
        what = "there is no such repository or revision, or it is private"
        raise GrokpackError("GP230", what, Place(path), facts, "is HF_TOKEN set?") from None
    except RefusedRequest as error:
        raise range_requests.refused(resource, str(error)) from None


def _path(name: str, revision: str) -> str:
    return f"hf://{name}@{quote(revision, safe='')}"
