"""Credentials for S3: keys that botocore finds and renews, and signatures by its signer."""

from __future__ import annotations

import hashlib
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from grokpack.core import redaction
from grokpack.core.optional_imports import import_extra, is_installed
from grokpack.storage.http import aws_settings, botocore_failures
from grokpack.storage.http.aws_settings import EXPORT_KEYS, EXTRA

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_BODY = hashlib.sha256(b"").hexdigest()
_HINTS = {
    "AuthorizationHeaderMalformed": "set AWS_REGION to the region of the bucket's server",
    "InvalidObjectState": "it is archived: restore the object in its bucket, which takes hours",
    "InvalidAccessKeyId": "these keys are not known there: see that they are this service's",
    "RequestTimeTooSkewed": "set this machine's clock: signatures are good for a few minutes",
    "SignatureDoesNotMatch": "the secret key is not that of the access key; give both again",
}


class AwsCredentials:
    """Keys that requests are signed with: found on first use, and renewed before they expire.

    They are those of the settings. The role of the machine is asked for once a bucket refuses a
    request without keys, so that public buckets are read without waiting for it.

    Args:
        anonymous: True if requests are not to be signed.
    """

    def __init__(self, *, anonymous: bool) -> None:
        self.session: Any = None if anonymous else aws_settings.session()
        self._machine_may_know = not anonymous and is_installed("botocore")
        self._guard = threading.RLock()
        self._found: Any = None
        self._is_sought = self.session is None
        self._shown: Any = None

    def keys(self) -> Any:  # noqa: ANN401  # botocore's
        """Return the keys as they are now; None without any.

        Raises:
            RetryableFailure: The service that gives them may give them next time.
            LastingFailure: It cannot be reached.
            GrokpackError: GP222 if it gives none, GP346 for settings that cannot be used.
        """
        if self._is_sought and self._found is None:
            return None
        errors = import_extra("botocore.exceptions", EXTRA)
        try:
            with aws_settings.usable():
                keys = self._current()
        except (errors.BotoCoreError, errors.ClientError) as error:
            raise botocore_failures.no_keys(error) from error
        if keys is not None and keys != self._shown:
            redaction.add_secrets(keys.access_key, keys.secret_key, keys.token)
            self._shown = keys
        return keys

    def _current(self) -> Any:  # noqa: ANN401  # botocore's
        """Find the keys, unless they were found before, and renew them if it is time to."""
        with self._guard:
            if not self._is_sought:
                self._found = self.session.get_credentials()
                self._is_sought = True
        return self._found and self._found.get_frozen_credentials()

    def find(self) -> bool:
        """Find keys, those of the machine's role if there are no others; true if there are any."""
        with self._guard:
            if self.keys() is None and self._machine_may_know:
                self._machine_may_know, self._is_sought = False, False
                self.session = aws_settings.new_session()
            return self.keys() is not None

    def headers(self, url: str, region: str) -> Mapping[str, str]:
        """Return the headers that sign a GET of a percent-encoded URL; none without keys."""
        keys = self.keys()
        if keys is None:
            return {}
        request = import_extra("botocore.awsrequest", EXTRA).AWSRequest("GET", url)
        _signer()(keys, "s3", region).add_auth(request)
        return dict(request.headers.items())

    def refused_hint(self, reason: str) -> str:
        """Return the hint for refused access, for the status and what the server calls it."""
        for code, hint in _HINTS.items():
            if code in reason:
                return hint
        if self._shown is None:
            how = "the bucket is not public; give keys: AWS_PROFILE=NAME, or for example\n"
            return how + EXPORT_KEYS
        if "Token" in reason:
            return (
                "the token that was sent has expired, or was revoked; get another:\n" + EXPORT_KEYS
            )
        return "the keys that were found do not allow it; give others, for example:\n" + EXPORT_KEYS


@cache
def _signer() -> Any:  # noqa: ANN401  # a class
    """Return botocore's signer, told that no request has a body: looking for one takes longest."""
    signer = import_extra("botocore.auth", EXTRA).S3SigV4Auth
    return type("Signer", (signer,), {"payload": lambda *_: _NO_BODY})
