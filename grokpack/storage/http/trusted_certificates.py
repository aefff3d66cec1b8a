"""Certificates that are trusted: the system's, or those that the environment names."""

from __future__ import annotations

import os
import ssl
from functools import cache

from grokpack.core.errors import GrokpackError, Place, UnusableValue

_OPENSSL = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # read by OpenSSL itself
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables of other programs: a file or a folder, which counts where OpenSSL's are not set."""


def bundle_file() -> str | None:
    """Return the file of the certificates that are trusted, for libraries that trust their own.

    Returns:
        None if they are in no file, but in a folder or wherever the system keeps them.

    Raises:
        GrokpackError: GP346 as `named_certificates`.
    """
    found = named_certificates()
    system = ssl.get_default_verify_paths().cafile  # that of SSL_CERT_FILE, if it is set
    bundle = next((path for name, path in found.items() if name in _BUNDLES), None)
    path = system if bundle is None or any(name in found for name in _OPENSSL) else bundle
    return path if path and os.path.isfile(path) else None


def named_certificates() -> dict[str, str]:
    """Return the variables that name certificates.

    Raises:
        GrokpackError: GP346 if one names none, which OpenSSL would not mention.
    """
    found = {name: os.environ[name] for name in (*_OPENSSL, *_BUNDLES) if os.environ.get(name)}
    for name, path in found.items():
        if not any(map(os.path.exists, path.split(os.pathsep))):  # OpenSSL's folders are several
            raise _unusable(name, path, "there is no such file or folder")
    return found


def tls_context() -> ssl.SSLContext:
    """Return the settings of TLS connections.

    Raises:
        GrokpackError: GP346 as `named_certificates`, or if what a variable names cannot be read.
    """
    return _context(tuple(named_certificates().items()))


@cache  # loading the system's certificates takes longer than most requests
def _context(found: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    """Make the settings for variables and their paths."""
    names = [name for name, _ in found]
    named = next((name for name in names if name in _BUNDLES), None)
    if named is None or any(name in names for name in _OPENSSL):
        return ssl.create_default_context()
    path = dict(found)[named]
    try:
        if os.path.isdir(path):
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # `ssl.SSLError` is one, too
        raise _unusable(named, path, error.strerror or str(error)) from error


def _unusable(name: str, path: str, why: str) -> GrokpackError:
    hint = "name a file of certificates in PEM, or unset it"
    return UnusableValue(f"{name} cannot be used: {why}", Place(path), hint=hint)
