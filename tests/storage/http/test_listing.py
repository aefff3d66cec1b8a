"""Listings of servers: read as a stream, and no further than any listing goes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError
from grokpack.storage.http import file_info, http_backend, listing, name_probing
from grokpack.storage.http.listing import listed

FOLDER = "s3://bucket/m"
SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Lets each page be a document."""

    def give(data: bytes) -> None:
        monkeypatch.setattr(listing, "run_request", lambda _ask: (data, ""))

    return give


def bucket() -> Any:
    return SimpleNamespace(listing=lambda *_args, **_options: None)


def page(keys: list[str], encoding: str = "utf-8") -> bytes:
    rows = "".join(
        f"<Contents><Key>{escape(key)}</Key><Owner><ID>x</ID></Owner><Size>1</Size></Contents>"
        for key in keys
    )
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    whole = f'{head}<ListBucketResult xmlns="{SPACE}"><Prefix>m/</Prefix>{rows}</ListBucketResult>'
    return whole.encode(encoding)


@given(st.lists(KEYS, max_size=8), st.sampled_from(["utf-8", "utf-16"]))
def test_the_texts_are_those_of_the_standard_librarys_tree(keys: list[str], encoding: str) -> None:
    data = page(keys, encoding)
    parsed = ET.fromstring(data)  # noqa: S314  # made here
    tree = [n.text for n in parsed.iter() if n.tag.endswith("}Key")]
    assert listing._Texts(("Key",)).read(data)["Key"] == tree == keys


DEEP = b"<a>" * 1_000_000
ENTITIES = '<!DOCTYPE a [<!ENTITY b "cccccccccc">]><a><Key>&b;</Key></a>'
HOSTILE = {
    "levels without end": DEEP,
    "entities": ENTITIES.encode(),
    "entities in another encoding": ('<?xml version="1.0" encoding="utf-16"?>' + ENTITIES).encode(
        "utf-16"
    ),
    "no end": b"<a><Key>m/x",
    "nothing": b"",
    "a web page": b"<html><br></html>",
    "a web page in XHTML": b"<html><br/></html>",
    "an error with the status of success": b"<Error><Code>InternalError</Code></Error>",
    "an attribute of megabytes": b'<a b="' + b"x" * (3 << 20),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_listing_is_refused_before_it_costs_anything(
    name: str, answers: Callable[[bytes], None]
) -> None:
    answers(HOSTILE[name])
    tracemalloc.start()
    try:
        with pytest.raises(GrokpackError, match="listing is broken") as caught:
            listed(FOLDER, bucket())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "GP209"
    assert peak < 8 << 20


def test_elements_that_are_no_names_leave_nothing_behind() -> None:
    data = b"<a>" + b"<b/>" * 100_000 + b"</a>"
    tracemalloc.start()
    assert listing._Texts(("Key",)).read(data) == {"Key": []}
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_names_without_end_are_refused(
    answers: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_MOST_NAMES", 10)
    answers(page([f"m/{n}" for n in range(10)]))
    assert len(listed(FOLDER, bucket()).files) == 10
    answers(page([f"m/{n}" for n in range(11)]))
    with pytest.raises(GrokpackError, match="more than 10 names"):
        listed(FOLDER, bucket())


def test_a_server_that_has_whatever_it_is_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def look(path: str) -> object:
        asked.append(path)
        return object() if "/tensor" in path else None

    monkeypatch.setattr(file_info, "look", look)
    monkeypatch.setattr(name_probing, "_MOST_FILES", 100)
    with pytest.raises(GrokpackError) as caught:
        name_probing.probed("http://host/m", http_backend.read_into)
    assert caught.value.code == "GP235"
    assert len(asked) < 2000
