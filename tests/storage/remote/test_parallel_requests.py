"""Requests to far servers: several at a time, on few threads, over connections that are kept."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from grokpack import open_checkpoint, storage, survey, verify_structure
from grokpack.checkpoint.tokenizer_files import find_tokenizer, tokenizer_files
from grokpack.storage.http import connections, parallel_requests, redirects, request_threads
from grokpack.storage.http.redirects import Resource, follow
from grokpack.storage.http.request_threads import Cancelled
from grokpack.verification.record_manifest import record
from tests.support.servers import Crowd, connections_made

if TYPE_CHECKING:
    from tests.support.servers import Server


def test_names_that_are_not_there_cost_no_connection(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = connections_made(monkeypatch)
    for number in range(50):
        assert not storage.exists(f"{served.url}/grok/missing{number}.json")
    assert len(made) == 1


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router on the way may have forgotten it, and would drop what is sent."""
    made = connections_made(monkeypatch)
    monkeypatch.setattr(connections, "_IDLE_S", 0.0)
    for number in range(3):
        assert not storage.exists(f"{served.url}/grok/missing{number}.json")
    assert len(made) == 3


@pytest.mark.parametrize(("near_s", "ranges"), [(60.0, 1), (0.0, 4)])
def test_a_server_that_is_far_is_asked_several_things_at_once(
    near_s: float, ranges: int, served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redirects, "_NEAR_S", near_s)
    path, nbytes = served.root / "large", 5 << 20
    path.write_bytes(os.urandom(nbytes))
    buffer = bytearray(nbytes - 7)
    storage.FileBytes(f"{served.url}/large").size()
    served.forget()
    storage.read_into(f"{served.url}/large", 7, memoryview(buffer))
    assert buffer == path.read_bytes()[7:]
    assert len(served.asked) == ranges


@pytest.mark.parametrize(("near_s", "cores", "threads"), [(60.0, 2, 3), (60.0, 64, 8), (0.0, 2, 8)])
def test_a_server_that_is_near_is_not_waited_for_by_more_threads_than_cores_can_serve(
    near_s: float, cores: int, threads: int, served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redirects, "_NEAR_S", near_s)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert storage.read_overhead(f"{served.url}/grok").threads == 8  # it has not answered yet
    storage.FileBytes(f"{served.url}/grok/config.json").size()
    assert storage.read_overhead(f"{served.url}/grok").threads == threads


def test_requests_share_threads(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{served.url}/grok/config.json"
    made: list[object] = []

    class Counted(request_threads._RequestThread):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(request_threads, "_RequestThread", Counted)
    request_threads._idle.clear()
    for _ in range(40):
        storage.forget(path)
        assert storage.FileBytes(path).size()
    assert 1 <= len(made) < 20  # one that has just ended may not be idle yet


def test_a_request_cancelled_before_it_is_sent_takes_no_connection(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = connections_made(monkeypatch)
    url = f"{served.url}/grok/config.json"
    resource = Resource("here", Mock(headers=lambda _: {}), lambda: url)
    with pytest.raises(Cancelled):
        follow(Mock(check=Mock(side_effect=Cancelled)), resource, {}, Mock())
    assert not made
    assert not served.asked


def test_what_lies_in_a_folder_is_found_in_few_turns(served: Server) -> None:
    """A far server makes each turn long: other formats' files, and places of a tokenizer."""
    turns, under_way = 0, 0

    def turn(*_: object) -> None:
        nonlocal turns, under_way
        turns, under_way = turns + (under_way == 0), under_way + 1
        time.sleep(0.02)
        under_way -= 1

    served.fault = turn
    opened = open_checkpoint(f"{served.url}/grok")
    found = turns
    assert find_tokenizer(opened, None) is None
    assert tokenizer_files(opened, None) == {}
    assert found < 16
    assert turns - found < 8


def test_files_are_compared_with_the_manifest_several_at_a_time(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redirects, "_NEAR_S", 0.0)
    record(open_checkpoint(served.root / "grok"), None)
    found = survey(f"{served.url}/grok")
    crowd = Crowd(0.01)
    served.fault = lambda *_: crowd.wait()
    served.forget()
    assert verify_structure(found).whole
    names = {asked.path for asked in served.asked}
    assert names >= {f"grok/ckpt-0/{file.name}" for file in served.root.glob("grok/ckpt-0/tensor*")}
    assert crowd.most > 8


@pytest.mark.parametrize(
    ("near", "at_once_s", "least", "most"), [(True, 60, 1, 4), (True, 0, 5, 32), (False, 60, 5, 32)]
)
def test_few_threads_ask_a_near_server_and_more_one_that_takes_its_time(
    near: bool, at_once_s: float, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel_requests, "_AT_ONCE_S", at_once_s)
    crowd, items = Crowd(0.01), list(range(100))

    def work(item: int) -> int:
        crowd.wait()
        return -item

    assert parallel_requests.map_all(work, items, near=near) == [-item for item in items]
    assert least <= crowd.most <= most


@pytest.mark.parametrize("near", [True, False])
def test_the_first_error_in_order_ends_the_others(near: bool) -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item in {5, 6}:
            time.sleep(0.02 * (7 - item))  # the later one fails first
            raise ValueError(item)
        time.sleep(0.005)
        return item

    with pytest.raises(ValueError, match="5"):
        parallel_requests.map_all(work, range(1000), near=near)
    assert len(begun) < 500
