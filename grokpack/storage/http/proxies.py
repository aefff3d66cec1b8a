"""Proxies that the environment names, by curl's rules.

Two rules differ from curl's. `HTTP_PROXY` in capitals counts, as it does for pip and for programs
in Go. curl ignores it, because a web server passes a client's `Proxy` header to CGI programs under
this name; here it is ignored only in CGI programs. And names in `no_proxy` may have a port.
"""

from __future__ import annotations

import ipaddress
import os
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from grokpack.core import redaction
from grokpack.core.errors import GrokpackError, Place
from grokpack.storage.urls import host_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
_SCHEMES = ("http", "https", *SOCKS)
_VARIABLES = {"http": "http_proxy", "https": "https_proxy"}


@dataclass(frozen=True, slots=True)
class Proxy:
    """Proxy to send requests through.

    Attributes:
        url: Its address, without user and password.
        user: Name of the user; None if the environment gives none.
        password: The user's password.
    """

    url: str
    user: str | None = None
    password: str = ""

    @property
    def scheme(self) -> str:
        """Protocol that it speaks."""
        return self.url.partition("://")[0]

    @property
    def login_url(self) -> str:
        """Its address with user and password."""
        if self.user is None:
            return self.url
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return self.url.replace("://", f"://{login}@", 1)

    @property
    def headers(self) -> dict[str, str]:
        """Headers by which it knows the user."""
        if self.user is None:
            return {}
        secret = b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")
        return {"Proxy-Authorization": f"Basic {secret}"}


def find_proxy(scheme: str, host: str, port: int | None) -> Proxy | None:
    """Find the environment's proxy for a web server; None for a direct connection.

    Raises:
        GrokpackError: GP224 if the proxy that the environment names cannot be used.
    """
    found = next(_settings(scheme), None)
    if found is None or _is_exempt(host, port):
        return None
    return _parse(*found)


def _settings(scheme: str) -> Iterator[tuple[str, str]]:
    """Yield the variables that name a proxy for a scheme, and their values, the decisive first."""
    for name in (_VARIABLES[scheme], "all_proxy"):
        for variable in (name, name.upper()):
            value = os.environ.get(variable, "").strip()
            in_cgi = variable == "HTTP_PROXY" and "REQUEST_METHOD" in os.environ
            if value and not in_cgi:
                yield variable, value


def _parse(variable: str, value: str) -> Proxy:
    """Parse `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT][/...]`."""
    scheme, mark, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if mark else ("http", value)
    login, at, host = rest.rpartition("@")
    user, _, password = login.partition(":")
    redaction.add_secrets(password, unquote(password))
    host = host.partition("/")[0]
    fault = host_fault(host)
    scheme = "socks4" if scheme == "socks" else scheme  # as curl has it, and desktops set it
    if scheme not in _SCHEMES:
        fault = f"a proxy speaks {', '.join(_SCHEMES)}"
    if fault is not None:
        what = f"{variable} cannot be used: {fault}"
        hint = f"write {variable}=http://HOST:PORT, or with `USER:PASSWORD@` before HOST"
        raise GrokpackError("GP224", what, Place(f"{scheme}://{host}"), hint=hint)
    return Proxy(f"{scheme}://{host}", unquote(user) if at else None, unquote(password))


def _is_exempt(host: str, port: int | None) -> bool:
    """Return whether `no_proxy` names a host, a domain above it or a network that it is in."""
    text = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    own = host.lower().strip("[]").rstrip(".")
    return any(_matches(word.lower(), own, port) for word in re.split(r"[,\s]+", text) if word)


def _matches(word: str, host: str, port: int | None) -> bool:
    if word == "*":
        return True
    name, colon, wanted = word.rpartition(":")
    if colon and wanted.isdecimal() and (":" not in name or name.endswith("]")):
        word = name if int(wanted) == port else ""
    word = word.strip("[]").strip(".")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(word, strict=False)
    except ValueError:
        return bool(word) and (host == word or host.endswith(f".{word}"))
