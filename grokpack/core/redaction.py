"""Redaction of secrets from everything that leaves: messages, documents, pages, bug reports.

Secrets of this process are known by value: from environment variables, credential files and URLs.
Others, such as the signature in an address that a server redirected to, are found by pattern.
Patterns are compiled on first use, because many commands never need them.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from functools import cache

MASK = "***"
_NAMED = r"(?i)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|_KEY|_KEY_ID|CREDENTIALS)$"
"""Names of variables that hold a secret, and below of those that hold the path of one."""
_PLACES = r"(?i)(_FILE|_PATH|_DIR)$"
_SHORTEST = 6  # characters; anything shorter may be an ordinary word
_TOKEN = 16  # characters from which on a user name is taken for a token
_USER = (
    r"(?i)(\b[a-z][a-z0-9+.-]{0,20}://)"
    r"(?:[^\s/:@\[\"'<>]{0,99}:(?!\d{1,5}(?:/|$))[^\s@\"'<>]{0,300}|[^\s/?#@\"'<>]{0,300})"
    r"(?:@[^\s/?#@\"'<>]{0,99}){0,3}@"
)
"""A user in a URL; the password may hold characters that should be percent-encoded.

Lengths are bounded here and below, so that hostile text cannot make the search slow.
"""
_QUERY = r"(?i)(\b[a-z][a-z0-9+.-]{0,20}://[^\s?#\"'<>`]{0,500})\?[^\s\"'<>`]*"
_BARE_QUERY = (
    r"(?i)\b((?:x-amz-|x-goog-)?(?:signature|credential|security-token)|awsaccesskeyid"
    r"|googleaccessid|access_token|id_token|refresh_token|client_secret|api_?key|key-pair-id"
    r"|password|passwd|secret|sig|token)(=|%3D)[^\s&\"'<>`,;]+"
)
_HEADER = (
    r"(?i)\b((?:proxy-)?authorization|cookie|set-cookie|x-amz-security-token|x-api-key)"
    r"(\\?[\"']?\s*[:=]\s*\\?[\"']?)[^\"'\r\n\\]+"
)
_SCHEME = r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}"
_SHAPES = r"\b(hf_[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|gh[pousr]_[A-Za-z0-9]{16,})"
"""Tokens of the hub, of AWS and of GitHub, wherever they stand."""

_known: set[str] = set()


def add_secrets_of_process() -> None:
    """Redact the secrets of environment variables and the command line from now on."""
    for word in sys.argv[1:]:
        add_secrets_of_url(word)
    for name, value in os.environ.items():
        if re.search(_NAMED, name) and not re.search(_PLACES, name) and not os.path.exists(value):
            add_secrets(value)
        elif "://" in value:
            add_secrets_of_url(value)


def add_secrets(*secrets: str | None) -> None:
    """Redact these values from now on; None and short words are ignored."""
    fresh = {text for secret in secrets if secret for text in _forms(secret)} - _known
    if fresh:
        _known.update(fresh)
        _pattern.cache_clear()


def _forms(secret: str) -> set[str]:
    """Return a secret in each form that it may appear in: whole, by word, quoted, escaped."""
    from urllib.parse import quote, unquote

    own = secret.strip()
    forms = {own, *own.split(), ascii(own)[1:-1], unquote(own)}
    with suppress(UnicodeError):
        forms |= {quote(own), quote(own, safe="")}
    return {form for form in forms if len(form) >= _SHORTEST}


def add_secrets_of_url(url: str) -> None:
    """Redact the user name, the password and the query of a URL from now on."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
    except ValueError:
        return
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    add_secrets(password if colon else user if len(user) >= _TOKEN else None)
    add_secrets(*(pair.partition("=")[2] for pair in parts.query.split("&")))


def redact(text: str) -> str:
    """Replace each secret in a text with `***`."""
    found = _pattern()
    if found is not None:
        text = found.sub(MASK, text)
    if "://" in text:
        text = re.sub(_QUERY, rf"\1?{MASK}", re.sub(_USER, rf"\1{MASK}@", text))
    if "=" in text or "%3" in text:
        text = re.sub(_BARE_QUERY, rf"\1\2{MASK}", text)
    text = re.sub(_SCHEME, rf"\1 {MASK}", re.sub(_HEADER, rf"\1\2{MASK}", text))
    return re.sub(_SHAPES, MASK, text)


@cache
def _pattern() -> re.Pattern[str] | None:
    """Return the pattern of all known secrets, longest first, including those of this process."""
    add_secrets_of_process()
    words = sorted(_known, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words else None
