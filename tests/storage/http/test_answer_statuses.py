"""What a server's answer means: later, never, empty, changed, or no answer to what was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from grokpack import storage
from grokpack.core.errors import GrokpackError
from grokpack.storage.http import file_info, retry_policy
from grokpack.storage.http.retry_policy import retry_after_s
from tests.support.servers import Answer, Asked, Server, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = "Mon, 30 Nov 2026 19:00:00 GMT"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    impatient(monkeypatch)
    monkeypatch.setattr(retry_policy, "MAX_ATTEMPTS", 4)
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1024)
    with serving(tmp_path) as served:
        yield served


def answering(server: Server, status: int, headers: dict[str, str] | None = None) -> None:
    """Let the server give one answer to everything."""

    def fault(_: Asked, answer: Answer) -> None:
        answer.status, answer.headers, answer.body = status, headers or {}, b""

    server.fault = fault


@pytest.mark.parametrize(
    ("status", "code", "times"),
    [
        (402, "GP223", 3),
        (405, "GP223", 3),
        (429, "GP221", 4),
        (451, "GP222", 1),
        (500, "GP221", 4),
        (501, "GP223", 3),
        (505, "GP223", 3),
        (507, "GP221", 4),
        (511, "GP223", 3),
        (521, "GP221", 4),
        (529, "GP221", 4),
    ],
)
def test_a_status_tells_whether_to_ask_again(
    status: int, code: str, times: int, server: Server
) -> None:
    path = f"{server.url}/file"
    facts = file_info.look(path)
    assert facts is not None
    server.forget()
    answering(server, status)
    with pytest.raises(GrokpackError) as caught:
        file_info.small(path, 100_000, 10, facts)
    assert (caught.value.code, len(server.asked)) == (code, times)


def test_what_the_law_forbids_needs_no_password(server: Server) -> None:
    answering(server, 451)
    with pytest.raises(GrokpackError) as caught:
        storage.FileBytes(f"{server.url}/file").size()
    assert "legal reasons" in str(caught.value.hint)


@pytest.mark.parametrize("headers", [{}, {"Content-Range": "bytes */0"}])
def test_a_file_whose_first_byte_is_out_of_range_is_empty(
    headers: dict[str, str], server: Server
) -> None:
    answering(server, 416, headers)
    assert storage.FileBytes(f"{server.url}/file").size() == 0


@pytest.mark.parametrize("status", [412, 416])
def test_a_first_look_that_is_refused_for_another_version_is_no_change(
    status: int, server: Server
) -> None:
    answering(server, status, {"Content-Range": "bytes */9"})
    with pytest.raises(GrokpackError) as caught:
        file_info.look(f"{server.url}/file")
    assert (caught.value.code, len(server.asked)) == ("GP223", 3)


def test_a_file_that_has_become_empty_has_changed(server: Server) -> None:
    path = f"{server.url}/file"
    assert storage.FileBytes(path).size() == 1 << 18
    answering(server, 416)
    with pytest.raises(GrokpackError, match="changed") as caught:
        storage.FileBytes(path).read(100_000, 100_000)
    assert caught.value.code == "GP213"


@pytest.mark.parametrize("encoding", ["", "identity", "aws-chunked"])
def test_bytes_that_come_as_they_are_are_taken(encoding: str, server: Server) -> None:
    def fault(_: Asked, answer: Answer) -> None:
        answer.headers["Content-Encoding"] = encoding

    server.fault = fault
    assert storage.FileBytes(f"{server.url}/file").read(99_999, 3) == bytes([159, 160, 161])


@pytest.mark.parametrize(
    ("text", "now", "waited"),
    [
        ("7", None, 7),
        ("Mon, 30 Nov 2026 19:02:00 GMT", NOW, 120),
        ("Mon, 30 Nov 2026 18:00:00 GMT", NOW, 0),
        ("Mon, 30 Nov 2026 19:02:00 GMT", None, None),
        ("Mon, 30 Nov 2026 19:02:00", NOW, None),
        ("soon", NOW, None),
        ("", NOW, None),
        (None, None, None),
    ],
)
def test_a_date_to_wait_for_is_taken_by_the_servers_own_clock(
    text: str | None, now: str | None, waited: float | None
) -> None:
    headers = {"retry-after": text, "date": now}
    assert retry_after_s({name: value for name, value in headers.items() if value}) == waited


@pytest.mark.parametrize(
    ("limit", "waited"),
    [
        ('"api";r=0;t=55', 55),
        ('"pages";r=12;t=9, "resolvers"; r=0; t=287', 287),
        ('"api";r=10;t=55', None),  # something remains: it was not this quota
        ('"api";r=0;t=', None),
        ("10;w=1", None),
    ],
)
def test_a_quota_that_is_spent_is_waited_for(
    limit: str, waited: float | None, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []

    def noted(_: int, asked_s: float | None) -> float:
        waits.append(asked_s)
        return 0.0

    monkeypatch.setattr(retry_policy, "delay_s", noted)
    answering(server, 429, {"RateLimit": limit})
    with pytest.raises(GrokpackError):
        file_info.look(f"{server.url}/file")
    assert waits == [waited] * 3


def test_what_a_bucket_says_of_a_request_that_it_does_not_take_is_told(server: Server) -> None:
    said = "The object was stored using a form of Server Side Encryption."

    def fault(_: Asked, answer: Answer) -> None:
        error = f"<Error><Code>InvalidRequest</Code><Message>{said}</Message></Error>"
        answer.status, answer.headers, answer.body = 400, {}, error.encode()

    server.fault = fault
    with pytest.raises(GrokpackError) as caught:
        storage.FileBytes(f"{server.url}/file").size()
    assert ("happened", f"it answered 400 InvalidRequest: {said}") in caught.value.facts
