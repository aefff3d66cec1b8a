"""Client of huggingface_hub for one repository: its creation, uploads and commits.

Files go over plain LFS, whose memory is known, unless HF_HUB_DISABLE_XET=0 asks for Xet and the hub
has it; the client alone would fail where it has not. The client repeats some requests by itself;
whatever still fails is repeated here, where a run can be stopped.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from grokpack.core.errors import GrokpackError, LockHeld, Place, ServerFailed
from grokpack.core.optional_imports import import_extra
from grokpack.core.version import __version__
from grokpack.storage.http import retry_policy, services, settings
from grokpack.storage.http.connections import SILENCE_S
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.http.responses import BUSY, plain
from grokpack.storage.urls import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from grokpack.storage.http.request_threads import Request

T = TypeVar("T")

EXTRA = "hub"
THREADS = 4  # files that are uploaded at a time
_TIMEOUTS = "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"
_LONGEST_S = 86400
_XET = "HF_HUB_DISABLE_XET"
_CONFLICTS = (409, 412)
_AGAIN = "see that the hub can be reached, and run the same command again; it continues"
_LONGEST_ANSWER = 300


class HubClient:
    """Repository of the hub, as a run writes to it.

    Args:
        out: Its URL.
    """

    def __init__(self, out: str) -> None:
        self._out, self.site = out, services.hub(parse(out))
        self._sent: dict[str, int] = {}

    def sent_bytes(self, files: Iterable[str]) -> int:
        """Return how many bytes of these files have gone out.

        Files that were uploaded before them do not count: the contents of those that come next
        are compared with their checksums first.
        """
        return sum(self._sent.get(name, 0) for name in files)

    @cached_property
    def _library(self) -> Any:  # noqa: ANN401  # a module
        return _import_library()

    @cached_property
    def _utils(self) -> Any:  # noqa: ANN401  # a module
        return self._library.utils

    @cached_property
    def _constants(self) -> Any:  # noqa: ANN401  # a module
        return self._library.constants

    @cached_property
    def _api(self) -> Any:  # noqa: ANN401  # huggingface_hub's
        return self._library.HfApi(
            endpoint=self.site.endpoint,
            token=self.site.token,
            library_name="grokpack",
            library_version=__version__,
        )

    def check(self) -> None:
        """Refuse to go on without the library or a token, or with a name that the hub has not.

        Raises:
            GrokpackError: GP307 without the library, GP328 without a token, GP224 for a name.
        """
        try:
            self._utils.validate_repo_id(self.site.repo)
        except ValueError as error:
            what = "the hub has no repositories of this name"
            raise GrokpackError("GP224", what, Place(self._out), (("rule", str(error)),)) from error
        if self.site.token is None:
            hint = self.site.no_token_hint()
            raise self.refusal("publishing needs a token that may write", None, hint)

    def create(self, *, private: bool) -> None:
        """Create the repository: private, or as its owner's default is."""

        def ask() -> None:
            self._api.create_repo(self.site.repo, private=private or None, exist_ok=True)

        run_request(lambda request: self._persist(request, ask))

    def upload(
        self, request: Request[Any], files: Mapping[str, str], digests: Mapping[str, str]
    ) -> list[Any]:
        """Upload files without committing them; small ones wait for the commit.

        Args:
            request: The request that this is part of.
            files: Local path of each file, by its name in the repository.
            digests: sha256 of each, by name.

        Returns:
            Operations that a commit takes.
        """
        self._sent = dict.fromkeys(files, 0)
        additions = [
            self._library.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
            for name, path in files.items()
        ]
        for addition in additions:
            addition.upload_info.sha256 = bytes.fromhex(digests[addition.path_in_repo])
            addition.as_file = _counted(addition, self._sent)

        def send() -> None:
            if not self._constants.HF_HUB_DISABLE_XET and not self._has_xet():
                self._constants.HF_HUB_DISABLE_XET = True
            self._api.preupload_lfs_files(
                self.site.repo,
                additions,
                revision=self.site.revision,
                num_threads=THREADS,
                free_memory=False,
            )

        self._persist(request, send)
        return additions

    def _has_xet(self) -> bool:
        """Return whether the hub hands out what uploads over Xet begin with."""
        site, revision = self.site, quote(self.site.revision, safe="")
        place = f"{site.endpoint}/api/models/{site.repo}/xet-write-token/{revision}"
        headers = self._utils.build_hf_headers(token=site.token)
        status: int = self._utils.get_session().get(place, headers=headers).status_code
        return status != HTTPStatus.NOT_FOUND

    def contents(self, files: Mapping[str, bytes]) -> list[Any]:
        """Return the operations that add small files, by name."""
        add = self._library.CommitOperationAdd
        return [add(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]

    def commit(
        self,
        request: Request[Any],
        message: str,
        additions: Iterable[Any],
        removed: Iterable[str] = (),
        *,
        parent: str | None = None,
        arrived: Callable[[], bool],
    ) -> None:
        """Commit files and removals.

        Args:
            request: The request that this is part of.
            message: First line of the commit's message.
            additions: Operations of `upload` or `contents`.
            removed: Names of files to remove.
            parent: Commit that the revision must stand at; None for any.
            arrived: Asked after a failure whether the commit is there, and only the response lost.

        Raises:
            GrokpackError: GP328 if the hub refuses it, GP221 if it does not respond, GP322 if the
                revision stands at another commit.
        """
        remove = self._library.CommitOperationDelete
        operations = [*additions, *(remove(path_in_repo=name) for name in removed)]

        def send() -> None:
            self._api.create_commit(
                self.site.repo,
                operations,
                commit_message=message,
                revision=self.site.revision,
                parent_commit=parent,
                num_threads=THREADS,
            )

        self._persist(request, send, arrived)

    def refusal(self, what: str, response: str | None, hint: str) -> GrokpackError:
        """Return the error for an output that the repository cannot take."""
        facts = () if response is None else (("answer", response),)
        return GrokpackError("GP328", what, Place(self._out), facts, hint)

    def _persist(
        self,
        request: Request[Any],
        send: Callable[[], None],
        arrived: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send until it succeeds, fails for good, or has failed too often."""
        failures = 0
        while True:
            request.check()
            try:
                self._limit_silence()
                send()
            except Exception as error:
                failures += 1
                failure = self._failure(error)
                if arrived():
                    return
                if not isinstance(failure, ServerFailed) or retry_policy.gives_up(failures):
                    raise failure from error
                request.pause(retry_policy.delay_s(failures, _after_s(error)))
            else:
                return

    def _limit_silence(self) -> None:
        """End requests after a silence as those of reading, unless another limit is set."""
        session = self._utils.get_session()
        if session.timeout.read is None:
            session.timeout = SILENCE_S

    def _failure(self, error: Exception) -> GrokpackError:
        """Return the error of a request that failed."""
        cause = _cause(error)
        response = getattr(cause, "response", None)
        status = None if response is None else int(response.status_code)
        said = plain(_said(cause), _LONGEST_ANSWER)
        if status in BUSY or _is_of_connections(cause):
            what = "the hub does not answer, or is busy"
            return ServerFailed(what, Place(self._out), (("answer", said),), _AGAIN)
        if status in _CONFLICTS:
            what = "somebody else writes to the repository"
            hint = "see what is there; the same command continues where nothing of it was touched"
            return LockHeld(what, Place(self._out), (("answer", said),), hint)
        return self.refusal("the hub does not take the output", said, self._hint(status, said))

    def _hint(self, status: int | None, said: str) -> str:
        if status == HTTPStatus.UNAUTHORIZED:
            return self.site.refused_hint(said)
        if status == HTTPStatus.FORBIDDEN:
            owner = self.site.repo.partition("/")[0]
            return (
                f"the token of {self.site.token_origin()} may not write for {owner}: give another"
            )
        return "see what it answered; the same command continues"


def _import_library() -> Any:  # noqa: ANN401  # a module
    """Import the client, set to print nothing and to upload over plain LFS by default.

    Raises:
        GrokpackError: GP307 without it, GP346 for a number of the environment that it cannot read.
    """
    for variable in _TIMEOUTS:
        settings.whole_number(variable, 0, _LONGEST_S)
    hub = import_extra("huggingface_hub", EXTRA)
    constants = import_extra("huggingface_hub.constants", EXTRA)
    if _XET not in os.environ:
        constants.HF_HUB_DISABLE_XET = True
    utils = import_extra("huggingface_hub.utils", EXTRA)
    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    return hub


def _counted(addition: Any, sent: dict[str, int]) -> Any:  # noqa: ANN401  # huggingface_hub's
    """Return an addition's `as_file` that notes how far the file has been read."""
    as_file = addition.as_file

    @contextmanager
    def opened(*arguments: Any, **named: Any) -> Iterator[Any]:  # noqa: ANN401  # as above
        with as_file(*arguments, **named) as file:
            read = file.read

            def counting(size: int = -1) -> bytes:
                data: bytes = read(size)
                sent[addition.path_in_repo] = file.tell()
                return data

            file.read = counting
            yield file

    return opened


def _is_of_connections(error: BaseException) -> bool:
    """Return whether a connection broke off, or was closed because of another that did."""
    closed = type(error) is RuntimeError and "closed" in str(error)
    return closed or type(error).__module__.startswith("httpx")


def _cause(error: BaseException) -> BaseException:
    """Return the error of the request behind those that the client wraps around it."""
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    return error


def _said(error: BaseException) -> str:
    """Describe a failure on one line: the status and message of the response, else the error."""
    response = getattr(error, "response", None)
    message = str(getattr(error, "server_message", None) or error).strip()
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if response is None else f"{response.status_code} {text}"


def _after_s(error: BaseException) -> float | None:
    """Return the seconds that a response asks to wait."""
    response = getattr(_cause(error), "response", None)
    return None if response is None else retry_policy.retry_after_s(response.headers)
