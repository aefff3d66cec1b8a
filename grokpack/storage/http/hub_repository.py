"""Repositories of the hub: the commit that a revision stands for, and what is said of its files."""

from __future__ import annotations

from dataclasses import dataclass
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
    from collections.abc import Mapping

    from grokpack.storage.http.request_threads import Request


@dataclass(frozen=True, slots=True)
class HubFile:
    """File of a repository, as the hub lists it.

    Attributes:
        nbytes: Size.
        sha256: sha256 of its contents in hex; None for a file that is small enough for git.
        blob: git's hash of the file in hex, or of the pointer that stands for a large one.
    """

    nbytes: int
    sha256: str | None
    blob: str


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """State of a repository at a revision.

    Attributes:
        commit: The commit that the revision stands for.
        private: Whether only its owner sees it.
        files: Its files by name.
    """

    commit: str
    private: bool
    files: Mapping[str, HubFile]


def published_files(name: str, revision: str) -> tuple[str, list[Any]]:
    """Return the commit of a revision, and the row of each file and folder as the hub lists it.

    Args:
        name: `OWNER/NAME`.
        revision: A branch, a tag or a commit.

    Raises:
        GrokpackError: GP230 if there is no such revision, GP222 if it may not be read, GP209 for a
            malformed response, GP221, GP223 and GP243 as reading has them.
    """
    path = _path(name, revision)
    try:
        about = _about(path)
    except FileGone as error:
        facts = (("answer", str(error)),)
        what = "there is no such repository or revision, or it is private"
        raise GrokpackError("GP230", what, Place(path), facts, "is HF_TOKEN set?") from None
    return _listed(name, about, path)


def state(name: str, revision: str) -> RepositoryState | None:
    """Return what a repository holds at a revision; None if there is no such revision.

    Args:
        name: `OWNER/NAME`.
        revision: A branch, a tag or a commit.

    Raises:
        GrokpackError: As `published_files`, without GP230.
    """
    path = _path(name, revision)
    try:
        about = _about(path)
    except FileGone:
        return None
    commit, rows = _listed(name, about, path)
    try:
        files = {row["path"]: _file(row) for row in rows if row["type"] == "file"}
    except (KeyError, TypeError, ValueError) as error:
        what = f"the hub's listing is broken: {type(error).__name__}: {error}"
        raise MalformedInput(what, Place(path)) from error
    return RepositoryState(commit, bool(about.get("private")), files)


def _file(row: dict[str, Any]) -> HubFile:
    large = row.get("lfs")
    return HubFile(int(row["size"]), None if large is None else str(large["oid"]), str(row["oid"]))


def _listed(name: str, about: dict[str, Any], path: str) -> tuple[str, list[Any]]:
    """Return the commit that a document of a revision names, and the rows of its files."""
    commit = about.get("sha")
    if not isinstance(commit, str) or not commit.isalnum():
        raise MalformedInput("the hub names no commit", Place(path))
    return commit, hub_rows(_path(name, commit), services.hub(parse(_path(name, commit))))


def _about(path: str) -> dict[str, Any]:
    """Return the document of a revision.

    Raises:
        FileGone: There is no such repository or revision.
        GrokpackError: As `published_files`, without GP230.
    """
    site = services.hub(parse(path))
    resource = Resource(path, site, site.about)

    def ask(request: Request[Any]) -> bytes:
        return range_requests.document(request, resource, PAGE_BYTES)[0]

    try:
        about = bounded_json.parse(run_request(ask), Place(path))
    except RefusedRequest as error:
        raise range_requests.refused(resource, str(error)) from None
    return about if isinstance(about, dict) else {}


def _path(name: str, revision: str) -> str:
    return f"hf://{name}@{quote(revision, safe='')}"
