"""Credentials for Google Cloud Storage: tokens that google-auth gets and renews.

An access token of the environment goes before them. Otherwise they are the application default
credentials: the file that the environment or `gcloud auth application-default login` names, else
the account of the machine.
"""

from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from grokpack.core import redaction
from grokpack.core.errors import AccessRefused, Place, UnusableValue
from grokpack.core.optional_imports import import_extra, is_installed
from grokpack.storage.http import connections, settings
from grokpack.storage.http.connection_failures import failed_attempt
from grokpack.storage.http.responses import LastingFailure, RetryableFailure, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTRA = "buckets"  # extra that installs google-auth
_TOKEN = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105  # a variable's name
_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_OTHERWISE = "or set GROKPACK_ANONYMOUS=1, to read what is public without a token"
_LOG_IN = "gcloud auth application-default login"
_REASON_CHARACTERS = 300
_answered: set[str] = set()
"""URLs that have responded, so that their hosts do resolve."""


class GoogleCredentials:
    """Access tokens, renewed before they expire.

    The account of the machine is asked for once a bucket refuses a request without a token, so
    that public buckets are read without waiting for it.

    Args:
        anonymous: True if no tokens are to be sent.
    """

    def __init__(self, *, anonymous: bool) -> None:
        self._token = None if anonymous else settings.secret(_TOKEN)
        redaction.add_secrets(self._token)
        self._found = None if anonymous or self._token else _of_file()
        self._machine_may_know = not (anonymous or self._token or self._found)
        self._guard = threading.RLock()
        self._shown: str | None = None

    def headers(self, url: str, region: str) -> Mapping[str, str]:  # noqa: ARG002  # see `Credentials`
        """Return the headers of a request; none without a token.

        Raises:
            RetryableFailure: The service that gives tokens may give one next time.
            LastingFailure: It cannot be reached.
            GrokpackError: GP222 if it gives none.
        """
        if self._token:
            return {"Authorization": f"Bearer {self._token}"}
        if self._found is None:
            return {}
        errors = import_extra("google.auth.exceptions", EXTRA)
        headers: dict[str, str] = {}
        try:
            with self._guard:
                self._found.before_request(_exchange, "GET", url, headers)
        except errors.GoogleAuthError as error:
            raise _no_token(error) from error
        if self._found.token != self._shown:
            self._shown = self._found.token
            redaction.add_secrets(self._shown)
        return headers

    def find(self) -> bool:
        """Find an account, the machine's own if there is no other; true if there is any."""
        with self._guard:
            if self._machine_may_know:
                self._machine_may_know = False
                self._found = _of_machine()
            return bool(self._token or self._found)

    def refused_hint(self, reason: str) -> str:
        """Return the hint for refused access, for the status and what the server calls it."""
        if not (self._token or self._found):
            return f"the bucket is not public; log in, for example:\n{_LOG_IN}"
        if self._token and reason.startswith("401"):
            return f"{_TOKEN} has expired, or was revoked; unset it, and log in:\n{_LOG_IN}"
        return f"the account that was found does not allow it; take another:\n{_LOG_IN}"


def _of_file() -> Any:  # noqa: ANN401  # google-auth's
    """Return the credentials of a file, that of the environment or that of gcloud; None without.

    Raises:
        GrokpackError: GP346 for a file that cannot be used, GP307 if google-auth is not installed.
    """
    home = os.environ.get("CLOUDSDK_CONFIG") or str(Path.home() / ".config" / "gcloud")
    named = os.environ.get(_FILE)
    path = named or os.path.join(home, "application_default_credentials.json")
    if not named and not os.path.isfile(path):
        return None
    auth, errors = (
        import_extra("google.auth", EXTRA, _OTHERWISE),
        import_extra("google.auth.exceptions", EXTRA),
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # of files by others: this is the user's
            return auth.load_credentials_from_file(path, scopes=[_SCOPE], request=_exchange)[0]
    except (errors.GoogleAuthError, OSError, ValueError, AttributeError) as error:  # of no object
        why = plain(str(error.args[0] if error.args else error), _REASON_CHARACTERS)
        what = f"Google's credentials cannot be used: {why}"
        hint = f"correct or unset {_FILE}" if named else _LOG_IN
        raise UnusableValue(what, Place(path), hint=hint) from error


def _of_machine() -> Any:  # noqa: ANN401  # google-auth's
    """Return the credentials of the machine's account; None if it has none or is not Google's."""
    if os.environ.get("NO_GCE_CHECK") == "true" or not is_installed("google.auth"):
        return None
    found = import_extra("google.auth.compute_engine", EXTRA).Credentials(scopes=[_SCOPE])
    try:
        found.refresh(_exchange)
    except (
        RetryableFailure,
        LastingFailure,
        import_extra("google.auth.exceptions", EXTRA).GoogleAuthError,
    ):
        return None
    return found


def _no_token(error: Any) -> Exception:  # noqa: ANN401  # of google-auth
    """Return the failure of an attempt to get a token, as those of other requests are."""
    reason = plain(str(error.args[0] if error.args else error), _REASON_CHARACTERS)
    if error.retryable:
        return RetryableFailure(f"no token from Google: {reason}")
    facts = (("happened", reason),)
    hint = f"where the login has expired, log in again:\n{_LOG_IN}"
    return AccessRefused("Google gives no token", None, facts, hint)


def _exchange(
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **_: object,
) -> urllib3.BaseHTTPResponse:
    """Make a request of google-auth's; see `google.auth.transport.Request`.

    Raises:
        RetryableFailure: It may succeed next time.
        LastingFailure: It would fail each time.
    """
    proxy = connections.proxy_for(url)
    through = proxy.url if proxy else None
    try:
        response = connections.exchange(url, method, body, headers or {}, timeout)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise failed_attempt(error, url, through, known=url in _answered) from error
    _answered.add(url)
    return response
