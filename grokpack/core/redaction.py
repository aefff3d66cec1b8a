"""Secrets kept out of whatever leaves: messages, documents, pages, reports of bugs.

Those of this process are known by their values: from the environment, from files of credentials,
from URLs. Others, such as a signature in an address that a server redirected to, are known by
where they stand. Patterns are compiled when they are first used, which many commands never do.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from functools import cache

MASK = "***"
_NAMED = r"(?i)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|_KEY|_KEY_ID|CREDENTIALS)$"
"""Variables that hold a secret."""
_PLACES = r"(?i)(_FILE|_PATH|_DIR)$"
_SHORTEST = 6  # characters: what is shorter is a word, or part of one
_TOKEN = 16  # characters of a user's name that is rather a token
_USER = (
    r"(?i)(\b[a-z][a-z0-9+.-]{0,20}://)"
    r"(?:[^\s/:@\[\"'<>]{0,99}:(?!\d{1,5}(?:/|$))[^\s@\"'<>]{0,300}|[^\s/?#@\"'<>]{0,300})"
    r"(?:@[^\s/?#@\"'<>]{0,99}){0,3}@"
)
"""A user in a URL; a password that holds what should be percent-encoded is one all the same.
Lengths are bounded here and below: hostile text must not take long to be looked through."""
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


def know_process() -> None:
    """Keep what variables and the command line hold of secrets out of what leaves from now on."""
    for word in sys.argv[1:]:
        know_url(word)
    for name, value in os.environ.items():
        if re.search(_NAMED, name) and not re.search(_PLACES, name) and not os.path.exists(value):
            know(value)
        elif "://" in value:
            know_url(value)


def know(*secrets: str | None) -> None:
    """Keep these values out of what leaves from now on; None and short words are passed over."""
    fresh = {text for secret in secrets if secret for text in _forms(secret)} - _known
    if fresh:
        _known.update(fresh)
        _pattern.cache_clear()


def _forms(secret: str) -> set[str]:
    """A secret as it is, in its words, and as URLs and messages of libraries have it."""
    from urllib.parse import quote, unquote

    own = secret.strip()
    forms = {own, *own.split(), ascii(own)[1:-1], unquote(own)}
    with suppress(UnicodeError):
        forms |= {quote(own), quote(own, safe="")}
    return {form for form in forms if len(form) >= _SHORTEST}


def know_url(url: str) -> None:
    """Keep the user's name and password of a URL, and what its query says, out of what leaves."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
    except ValueError:
        return
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    know(password if colon else user if len(user) >= _TOKEN else None)
    know(*(pair.partition("=")[2] for pair in parts.query.split("&")))


def redact(text: str) -> str:
    """Text with each secret replaced."""
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
    """All secrets that are known, the longest first; of this process, too, as it is by now."""
    know_process()
    words = sorted(_known, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words else None
