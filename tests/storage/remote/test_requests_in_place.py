"""Requests to a near server run on the reader's own thread, and can be stopped all the same."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from urllib3.connection import HTTPConnection

from grokpack import GrokpackError, storage
from grokpack.storage.http import connections, range_requests, redirects

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import Answer, Asked, Server

NBYTES = 200_000


@pytest.fixture
def near(served: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that counts as near, and has a file of which the first look was taken."""
    monkeypatch.setattr(redirects, "_NEAR_S", 60.0)
    (served.root / "data").write_bytes(os.urandom(NBYTES))
    storage.FileBytes(f"{served.url}/data").size()
    return served


def read(server: Server, stopping: Callable[[], bool] = bool) -> bytes:
    with storage.interruptible(stopping):
        return storage.FileBytes(f"{server.url}/data").read(0, NBYTES)


def threads_of_requests(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads on which requests are sent from now on."""
    found, get = [], connections.get

    def noted(*arguments: object) -> object:
        found.append(threading.current_thread())
        return get(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(connections, "get", noted)
    return found


@pytest.mark.parametrize("near_s", [0.0, 60.0])
def test_only_a_near_server_is_asked_on_the_readers_thread(
    near_s: float, near: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redirects, "_NEAR_S", near_s)
    asking = threads_of_requests(monkeypatch)
    assert read(near) == (near.root / "data").read_bytes()
    assert (set(asking) == {threading.current_thread()}) is bool(near_s)


def test_a_bucket_whose_keys_may_need_requests_of_their_own_is_asked_on_another(
    near: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", near.url)
    monkeypatch.setenv("GROKPACK_ANONYMOUS", "1")
    (near.root / "bucket").mkdir()
    (near.root / "data").rename(near.root / "bucket" / "data")
    connections.forget()
    asking = threads_of_requests(monkeypatch)
    assert len(storage.FileBytes("s3://bucket/data").read(0, NBYTES)) == NBYTES
    assert asking
    assert threading.current_thread() not in asking


def test_a_read_of_a_silent_server_ends_when_the_reader_is_to_stop(near: Server) -> None:
    stop = threading.Event()

    def stall(_asked: Asked, answer: Answer) -> None:
        answer.stall = 1000
        threading.Timer(0.1, stop.set).start()

    near.fault = stall
    began = time.monotonic()
    with pytest.raises(GrokpackError) as caught:
        read(near, stop.is_set)
    assert caught.value.code == "GP403"
    assert time.monotonic() - began < connections.SILENCE_S / 2


def test_a_pause_before_another_attempt_ends_too(near: Server) -> None:
    stop = threading.Event()

    def busy(_asked: Asked, answer: Answer) -> None:
        answer.status, answer.headers = 503, {"Retry-After": "300"}
        threading.Timer(0.1, stop.set).start()

    near.fault = busy
    with pytest.raises(GrokpackError) as caught:
        read(near, stop.is_set)
    assert caught.value.code == "GP403"


def test_connecting_which_nothing_can_end_is_left_to_another_thread(
    near: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, over = threading.Event(), threading.Event()
    connections.forget()

    def hang(_: HTTPConnection) -> None:
        assert threading.current_thread() is not threading.main_thread()
        stop.set()
        over.wait(60)
        raise OSError

    monkeypatch.setattr(HTTPConnection, "connect", hang)
    try:
        with pytest.raises(GrokpackError) as caught:
            read(near, stop.is_set)
    finally:
        over.set()
    assert caught.value.code == "GP403"


def test_an_attempt_that_takes_too_long_is_made_again(
    near: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def stall_once(asked: Asked, answer: Answer) -> None:
        if not tried:
            answer.stall = 1000
        tried.append(asked)

    monkeypatch.setattr(range_requests, "SILENCE_S", 0.5)
    near.fault = stall_once
    began = time.monotonic()
    assert read(near) == (near.root / "data").read_bytes()
    assert len(tried) > 1
    assert time.monotonic() - began < connections.SILENCE_S


def test_an_error_of_the_callback_is_the_readers(near: Server) -> None:
    class Own(Exception):
        pass

    def failing() -> bool:
        raise Own

    near.fault = lambda _, answer: setattr(answer, "stall", 1000)
    with pytest.raises(Own):
        read(near, failing)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_has_a_watch_of_its_own(near: Server) -> None:
    read(near)
    near.fault = lambda _, answer: setattr(answer, "stall", 1000)
    child = os.fork()
    if not child:
        began = time.monotonic()
        try:
            read(near, lambda: time.monotonic() > began + 0.1)
        except GrokpackError as error:
            os._exit(0 if error.code == "GP403" else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
