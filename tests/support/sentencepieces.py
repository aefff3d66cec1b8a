"""SentencePiece models made by hand: small, of any number of pieces, and broken ones."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

schema: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def model(count: int, *, bytes_too: bool = False) -> Any:
    """A byte-pair model of so many pieces, as a message."""
    made = schema.ModelProto()
    made.trainer_spec.model_type = 2
    made.trainer_spec.vocab_size = count
    made.trainer_spec.byte_fallback = bytes_too
    made.normalizer_spec.name = "identity"
    made.normalizer_spec.add_dummy_prefix = True
    rows = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    if bytes_too:
        rows += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + count)]
    rows += [(text, NORMAL) for text in ["\u2581", *letters]]
    for rank, (text, kind) in enumerate(rows[:count]):
        made.pieces.add(piece=text, type=kind, score=float(-rank))
    return made


@cache
def sentencepieces(count: int) -> bytes:
    """The same as a file."""
    made: bytes = model(count).SerializeToString()
    return made


def _change(place: int, **fields: Any) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        for name, value in fields.items():
            setattr(made.pieces[place], name, value)

    return change


def _map(data: bytes) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        made.normalizer_spec.name = "user_defined"
        made.normalizer_spec.precompiled_charsmap = data

    return change


def _no_bytes(made: Any) -> None:
    made.trainer_spec.byte_fallback = True


def _no_pieces(made: Any) -> None:
    del made.pieces[:]


CONTRADICTIONS: dict[str, Callable[[Any], None]] = {
    "a piece twice": _change(40, piece="\u4e01"),
    "an empty piece": _change(40, piece=""),
    "a piece with a zero": _change(40, piece="a\0b"),
    "an endless piece": _change(40, piece="a" * 1_000_000),
    "a score that is no number": _change(40, score=float("nan")),
    "an infinite score": _change(40, score=float("inf")),
    "a score below all": _change(40, score=float("-inf")),
    "no unknown": _change(0, type=NORMAL),
    "two unknowns": _change(40, type=UNKNOWN),
    "a control piece as unknown": _change(1, type=UNKNOWN),
    "a byte without fallback": _change(40, type=BYTE),
    "fallback without bytes": _no_bytes,
    "no pieces": _no_pieces,
    "an empty map": _map(b"\x01"),
    "a map of nothing": _map(bytes(4)),
    "a map larger than itself": _map(b"\xff\xff\xff\xff" + bytes(100)),
    "a map of noise": _map((1024).to_bytes(4, "little") + b"\x37" * 1024 + b"a\0"),
    "a map without its end": _map((1024).to_bytes(4, "little") + bytes(1024) + b"a"),
}


def broken(name: str) -> bytes:
    """A model with one contradiction."""
    made = model(60)
    CONTRADICTIONS[name](made)
    data: bytes = made.SerializeToString()
    return data
