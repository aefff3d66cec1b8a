"""JSON from outside, whose cost is bounded before any of it is built.

Python builds a dictionary of 64 bytes for each `{}` and a string for each new key, so that a
document can take thirty times its size in memory. The characters that begin a value are counted
first.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from typing import Any

from grokpack.core.errors import GrokpackError, InputTooLarge, MalformedInput, Place
from grokpack.formats import file_recognition

MOST_BYTES = 32 << 20
"""Largest document; a manifest of the release takes 1 MB, an index of 90,000 tensors 10 MB."""
_MEMORY_BYTES = 128 << 20  # most memory that parsing may take, text included
_MOST_DEPTH = 64
_CONTAINERS = frozenset({dict, list})
_COSTS = {b"{": 64, b"[": 100, b",": 64, b":": 250}
"""Bytes of memory that each character may cost: a container, an element, a key with its slot."""
_TEXTS = 2  # copies of the text: the decoded whole, and the values in it
_WIDEST = 4  # bytes of a character when the text holds one outside the basic plane
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BOM = "\ufeff"
_SHOWN = 40  # characters of a name in a message


def parse(data: bytes, place: Place | None = None, memory: int | None = None) -> Any:  # noqa: ANN401  # JSON is what it is; callers check the shape
    """Parse a document.

    Args:
        data: The document, in UTF-8.
        place: Where it was read, for messages.
        memory: Most bytes of memory that parsing may take; None for what most documents may.

    Raises:
        GrokpackError: GP235 where it would take too much memory, GP209 where it is not JSON, a
            name stands twice in one object, a number is not finite, or a text has half of a
            surrogate pair that is not a byte of a file's name.
    """
    check_cost(data, place, memory)
    try:
        text = data.decode().removeprefix(_BOM)
        document = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if _count_names(document) != data.count(b":"):  # a name was dropped, or is in a text
            json.loads(text, object_pairs_hook=_unique)
        if _SURROGATE.search(data):  # names of files that are not UTF-8 hold these
            json.dumps(document, ensure_ascii=False).encode(errors="surrogateescape")
    except UnicodeError as error:
        raise _broken(data, f"its text is not UTF-8: {error}", place) from error
    except (ValueError, RecursionError) as error:
        raise _broken(data, str(error), place) from error
    return document


def _broken(data: bytes, reason: str, place: Place | None) -> GrokpackError:
    other = file_recognition.recognize_document(data)
    what = f"not JSON: {reason}" if other is None else f"not JSON, but {other}"
    return MalformedInput(what, place)


def check_cost(data: bytes, place: Place | None, memory: int | None = None) -> None:
    """Refuse a document that is larger, or would take more memory, than any of a checkpoint.

    Raises:
        GrokpackError: GP235.
    """
    if len(data) > MOST_BYTES:
        raise too_large(len(data), place)
    width = 1 if data.isascii() else _WIDEST
    cost = len(data) * (1 + _TEXTS * width)
    cost += sum(each * data.count(character) for character, each in _COSTS.items())
    most = _MEMORY_BYTES if memory is None else memory
    if cost > most:
        facts = (("needs", f"up to {cost >> 20:,} MiB"), ("limit", f"{most >> 20} MiB"))
        what = "the JSON document has more names and values than any of a checkpoint"
        raise InputTooLarge(what, place, facts)


def too_large(nbytes: int, place: Place | None) -> GrokpackError:
    """Return the error for a document that is larger than any of a checkpoint."""
    facts = (("found", f"{nbytes:,} bytes"), ("limit", f"{MOST_BYTES:,} bytes"))
    return InputTooLarge("the JSON document is too large", place, facts)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        message = f"the name {twice[:_SHOWN]!a} stands twice"
        raise ValueError(message)
    return table


def _no_number(text: str) -> None:
    message = f"{text} is no number of JSON"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        message = f"{text[:_SHOWN]} is too large a number"
        raise ValueError(message)
    return number


def _count_names(document: object) -> int:
    """Count the entries of all objects, level by level; refuse what is deeply nested."""
    count = 0
    level: list[Any] = [document] if type(document) in _CONTAINERS else []
    for _ in range(_MOST_DEPTH + 1):
        if not level:
            return count
        objects = [outer for outer in level if type(outer) is dict]
        count += sum(map(len, objects))
        lists = (outer for outer in level if type(outer) is list)
        inner = itertools.chain(map(dict.values, objects), lists)
        nests = (values for values in inner if not _CONTAINERS.isdisjoint(map(type, values)))
        level = [one for values in nests for one in values if type(one) in _CONTAINERS]
    message = f"it is nested more than {_MOST_DEPTH} deep"
    raise ValueError(message)
