"""JSON from outside: refused with a code by what it would cost, or parsed as others parse it."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError, Place
from grokpack.formats import bounded_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=6,
)
MEMORY = 128 << 20
SHAPES: dict[str, Callable[[int], bytes]] = {
    "objects": lambda n: b"[" + b"{}," * n + b"0]",
    "lists": lambda n: b"[" + b"[]," * n + b"0]",
    "lists of one": lambda n: b"[" + b"[0]," * n + b"0]",
    "objects of one": lambda n: b"[" + b'{"a":0},' * n + b"0]",
    "keys": lambda n: b"{" + b",".join(b'"%x":0' % i for i in range(n // 4)) + b"}",
    "texts": lambda n: b"[" + b'"ab",' * n + b"0]",
    "numbers": lambda n: b"[" + b"1e9," * n + b"0]",
    "one wide text": lambda n: b'"' + b"a" * 8 * n + "\U0001f600".encode() + b'"',
}


def refused(document: bytes) -> str:
    with pytest.raises(GrokpackError) as caught:
        bounded_json.parse(document, Place("x.json"))
    assert caught.value.where == Place("x.json")
    return f"{caught.value.code} {caught.value.what}"


@given(VALUES, st.booleans())
def test_what_is_written_is_read(value: Any, ascii_only: bool) -> None:
    assert bounded_json.parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=40) | st.text('{}[]:,"\\u0d8c91e.-NaIfty \ufeff', max_size=40))
def test_whatever_comes_is_parsed_or_refused(data: bytes | str) -> None:
    document = data if isinstance(data, bytes) else data.encode()
    with contextlib.suppress(GrokpackError):
        bounded_json.parse(document)


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (b" ", "Expecting value"),
        (b'{"a": 1, "b": 2, "a": 3}', "the name 'a' stands twice"),
        (b'[{"x": {"\xc3\xa9": 1, "\\u00e9": 2}}]', r"the name '\xe9' stands twice"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b"[-Infinity]", "-Infinity is no number of JSON"),
        (b"[1e400]", "1e400 is too large a number"),
        (b"[-1" + b"0" * 400 + b".5]", "is too large a number"),
        (b"[1" + b"0" * 5000 + b"]", "Exceeds the limit"),
        (rb'{"\ud800": 1}', "not UTF-8"),
        (rb'["\udfff"]', "not UTF-8"),
        (b'["\xff"]', "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"[" * 65 + b"]" * 65, "nested more than 64 deep"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_not_plain_json_is_refused_by_its_reason(document: bytes, what: str) -> None:
    assert what in refused(document)
    assert refused(document).startswith("GP209 not JSON: ")


def test_what_is_just_within_the_rules_is_read() -> None:
    assert bounded_json.parse(b"[" * 64 + b"]" * 64)
    assert bounded_json.parse(b"\xef\xbb\xbf{}") == {}
    assert bounded_json.parse(rb'["\ud83d\ude00"]') == ["\U0001f600"]
    assert bounded_json.parse(rb'["\udcff"]') == ["\udcff"]  # a file's name that is no UTF-8


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_takes_more_memory_than_was_counted(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 50_000
    document = SHAPES[shape](count)
    monkeypatch.setattr(bounded_json, "_MEMORY_BYTES", 0)
    with pytest.raises(GrokpackError) as caught:
        bounded_json.parse(document)
    counted = int(caught.value.facts[0][1].split()[2]) + 1 << 20
    monkeypatch.undo()
    tracemalloc.start()
    try:
        bounded_json.parse(document)
        assert tracemalloc.get_traced_memory()[1] < counted
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_of_a_million_entries_is_built(shape: str) -> None:
    document = SHAPES[shape](2_500_000)
    tracemalloc.start()
    try:
        assert refused(document).startswith("GP235 ")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_index_of_the_largest_models_is_read() -> None:
    table = {
        f"model.layers.{i}.mlp.experts.{i}.w": f"model-{i:05d}.safetensors" for i in range(1 << 17)
    }
    document = json.dumps({"metadata": {"total_size": 1}, "weight_map": table}, indent=1).encode()
    assert len(bounded_json.parse(document)["weight_map"]) == 1 << 17
