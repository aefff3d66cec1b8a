"""Proxies that the environment names: which one is asked, as whom, and what it refuses."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import sys
import threading
from base64 import b64encode
from typing import TYPE_CHECKING
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import survey
from grokpack.core.errors import GrokpackError
from grokpack.storage.http import connections, http_backend, redirects, retry_policy
from grokpack.storage.http.proxies import Proxy, find_proxy
from tests.support.servers import Answer, Asked, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

FAR = "http://weights.invalid"
BASIC = "Basic " + b64encode("me:se créts".encode()).decode()
LOGIN = "me:se%20cr%C3%A9ts"


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redirects, "answered", {})
    connections.forget()
    storage.forget(FAR)
    storage.forget(FAR.replace("http", "https"))
    yield
    connections.forget()


@pytest.mark.parametrize(
    ("variables", "scheme", "url"),
    [
        ({"http_proxy": "http://p:1"}, "http", "http://p:1"),
        ({"http_proxy": "p:1"}, "http", "http://p:1"),
        ({"http_proxy": "http://p:1/path?query"}, "http", "http://p:1"),
        ({"all_proxy": "socks://p:1/"}, "http", "socks4://p:1"),
        ({"http_proxy": "p:1"}, "https", None),
        ({"HTTP_PROXY": "p:1"}, "http", "http://p:1"),
        ({"HTTP_PROXY": "p:1", "REQUEST_METHOD": "GET"}, "http", None),
        ({"HTTPS_PROXY": "p:1", "REQUEST_METHOD": "GET"}, "https", "http://p:1"),
        ({"https_proxy": "p:1", "HTTPS_PROXY": "q:1"}, "https", "http://p:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "q:1"}, "https", "http://q:1"),
        ({"all_proxy": "p:1"}, "http", "http://p:1"),
        ({"ALL_PROXY": "socks5h://p:1"}, "https", "socks5h://p:1"),
        ({"all_proxy": "p:1", "http_proxy": "q:1"}, "http", "http://q:1"),
        ({"http_proxy": "HTTPS://p:1/"}, "http", "https://p:1"),
        ({"http_proxy": "[::1]:8080"}, "http", "http://[::1]:8080"),
        ({}, "http", None),
    ],
)
def test_variables_are_read_as_curl_reads_them(
    variables: dict[str, str], scheme: str, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = find_proxy(scheme, "host.example", 80)
    assert (found.url if found else None) == url


@pytest.mark.parametrize(
    ("login", "user", "password"),
    [
        ("me:se%20cret@", "me", "se cret"),
        ("me@", "me", ""),
        ("m%3Ae:a:b@c@", "m:e", "a:b@c"),
        ("", None, ""),
    ],
)
def test_user_and_password_are_decoded(
    login: str, user: str | None, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{login}p:1")
    assert find_proxy("http", "host", 80) == Proxy("http://p:1", user, password)


@pytest.mark.parametrize(
    ("exempt", "host", "direct"),
    [
        ("*", "any.example", True),
        ("a.example, b.example", "b.example", True),
        ("a.example b.example", "b.example", True),
        (".a.example", "x.A.example", True),
        ("a.example", "x.a.example.", True),
        ("a.example", "xa.example", False),
        ("example", "example.org", False),
        ("a.example:80", "a.example", True),
        ("a.example:81", "a.example", False),
        ("10.0.0.0/8", "10.2.3.4", True),
        ("10.0.0.0/8", "11.2.3.4", False),
        ("fd00::/8", "fd12::1", True),
        ("[::1]:80", "::1", True),
        ("::1", "::1", True),
        (",", "a.example", False),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_hosts_are_exempt_as_curl_exempts_them(
    name: str, exempt: str, host: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "p:1")
    monkeypatch.setenv(name, exempt)
    assert (find_proxy("http", host, 80) is None) == direct


@pytest.mark.parametrize("value", ["ftp://p:1", "http://", "http://p:x", "socks6://p:1", "p:99999"])
def test_a_setting_that_names_no_proxy_is_an_error_that_names_the_variable(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(GrokpackError) as caught:
        survey(f"{FAR}/grok")
    assert caught.value.code == "GP224"
    assert "ALL_PROXY" in caught.value.what


def _guarded(asked: Asked) -> Answer | None:
    known = asked.headers.get("proxy-authorization") == BASIC
    return None if known else Answer(407, {"Proxy-Authenticate": 'Basic realm="x"'})


@pytest.mark.parametrize("form", ["http://{}@{}", "{}@{}"])
def test_a_proxy_is_told_who_asks(
    form: str, served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.route = _guarded
    monkeypatch.setenv("http_proxy", form.format(LOGIN, urlsplit(served.url).netloc))
    assert survey(f"{FAR}/grok").whole
    assert {asked.headers["host"] for asked in served.asked} == {"weights.invalid"}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("login", ["", "me:wrong-password@"])
def test_a_proxy_that_wants_another_user_is_named_at_once_without_the_password(
    scheme: str, login: str, served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.route = _guarded
    netloc = urlsplit(served.url).netloc
    monkeypatch.setenv(f"{scheme}_proxy", f"http://{login}{netloc}")
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(f"{scheme}://weights.invalid/grok/config.json")
    assert (caught.value.code, caught.value.exit_status) == ("GP243", 3)
    assert f"the proxy http://{netloc} answered 407" in str(caught.value.facts)
    assert "wrong-password" not in repr(caught.value)
    assert len(served.asked) == 1


def test_a_host_that_a_proxy_refuses_is_told_at_once(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.route = lambda _: Answer(403, {})
    monkeypatch.setenv("https_proxy", served.url)
    with pytest.raises(GrokpackError) as caught:
        http_backend.size("https://weights.invalid/grok/config.json")
    assert caught.value.code == "GP243"
    assert "answered 403" in str(caught.value.facts)
    assert len(served.asked) == 1


def test_a_proxy_that_is_busy_is_asked_again(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.route = lambda _: Answer(502, {})
    monkeypatch.setenv("https_proxy", served.url)
    monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 2)
    with pytest.raises(GrokpackError) as caught:
        http_backend.size("https://weights.invalid/grok/config.json")
    assert (caught.value.code, len(served.asked)) == ("GP221", 2)


def test_a_proxy_whose_name_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "proxy.invalid:3128")
    monkeypatch.setattr(socket, "getaddrinfo", Mock(side_effect=socket.gaierror(-2, "unknown")))
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(f"{FAR}/grok/config.json")
    assert caught.value.code == "GP243"
    assert "the proxy http://proxy.invalid:3128 does not resolve" in str(caught.value.facts)


def _relay(one: socket.socket, other: socket.socket, ended: threading.Event) -> None:
    """Pass bytes on between two sockets until one of them closes."""
    peers = {one: other, other: one}
    while not ended.is_set():
        for source in select.select(list(peers), [], [], 0.02)[0]:
            data = source.recv(1 << 16)
            if not data:
                return
            peers[source].sendall(data)


class _Socks5(socketserver.ThreadingTCPServer):
    """Proxy of RFC 1928 that asks for a user and a password, and leads to one server."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Socks5Client)
        self.target, self.heard, self.ended = target, list[bytes](), threading.Event()


class _Socks5Client(socketserver.BaseRequestHandler):
    server: _Socks5

    def handle(self) -> None:
        near, heard = self.request, self.server.heard
        near.recv(2 + near.recv(2, socket.MSG_PEEK)[1])
        near.sendall(b"\x05\x02")
        heard.append(near.recv(1000))
        if b"se cr" not in heard[-1]:
            near.sendall(b"\x01\x01")
            return
        near.sendall(b"\x01\x00")
        heard.append(near.recv(1000))
        near.sendall(b"\x05\x00\x00\x01" + bytes(6))
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(self.server.target) as far,
        ):
            _relay(near, far, self.server.ended)


@pytest.fixture
def socks(served: Server) -> Iterator[tuple[str, list[bytes]]]:
    """Address of a SOCKS proxy that leads to `served`, and the words that it heard."""
    pytest.importorskip("socks")
    parts = urlsplit(served.url)
    with _Socks5((str(parts.hostname), int(parts.port or 0))) as server:
        accepting = threading.Thread(target=server.serve_forever, args=(0.02,))
        accepting.start()
        yield f"127.0.0.1:{server.server_address[1]}", server.heard
        server.ended.set()
        server.shutdown()
        accepting.join()


def test_a_socks_proxy_resolves_names_and_is_told_who_asks(
    socks: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, heard = socks
    monkeypatch.setenv("all_proxy", f"socks5h://me:se%20cret@{address}")
    assert http_backend.size(f"{FAR}/grok/config.json")
    assert b"weights.invalid" in heard[1]


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_proxy_that_is_not_there_is_named_with_the_reason(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if scheme != "http":
        pytest.importorskip("socks")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{scheme}://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("all_proxy", address)
        monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 1)
        with pytest.raises(GrokpackError) as caught:
            http_backend.size(f"{FAR}/grok/config.json")
    assert caught.value.code == "GP221"
    reason = f"no connection through the proxy {address}: Connection refused"
    assert ("happened", reason) in caught.value.facts


def test_a_socks_proxy_that_knows_nobody_is_named_at_once(
    socks: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, heard = socks
    monkeypatch.setenv("all_proxy", f"socks5h://me:wrong@{address}")
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(f"{FAR}/grok/config.json")
    assert caught.value.code == "GP243"
    assert f"the proxy socks5h://{address}" in str(caught.value.facts)
    assert len(heard) == 1


def test_socks_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://p:1")
    monkeypatch.setitem(sys.modules, "socks", None)
    with pytest.raises(GrokpackError) as caught:
        http_backend.size(f"{FAR}/grok/config.json")
    assert caught.value.code == "GP307"
    assert "grokpack[socks]" in str(caught.value.hint)
