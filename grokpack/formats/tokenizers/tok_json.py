"""Grammar of tokenizer.tok.json: tokens as bytes with their ids, and how texts are split.

    {"regular_tokens": [{"bytes": [32, 116], "token": 285}, ...],
     "special_tokens": [{"bytes": [60, 124, ...], "token": 0}, ...],
     "word_split": "V1", "vocab_size": 131072}

Ids of regular tokens order their merges: the lowest goes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError, InputTooLarge, MalformedInput, Place
from grokpack.formats import bounded_json
from grokpack.formats.tokenizers import split_patterns
from grokpack.formats.tokenizers.byte_spelling import unspelled

if TYPE_CHECKING:
    from collections.abc import Mapping

_MEMORY_BYTES = 320 << 20  # more than other documents may: 131,072 tokens are bound by 180 MiB
_MOST_TOKENS = 327_680  # the largest vocabularies have 262,144
_MOST_TOKEN_BYTES = 4096  # of the widest vocabularies, a token of 512 spaces is the longest
_MOST_BYTES = 8 << 20  # of all tokens; those of the release are near one megabyte
_BYTES = range(256)


@dataclass(frozen=True, slots=True)
class TokenTable:
    """A vocabulary of byte pairs.

    Attributes:
        regular: Ids of the regular tokens by their bytes; the lower is merged first.
        special: Ids of the special tokens by their texts, which no merge makes.
        pattern: Regular expression of the pieces into which a text is split.
    """

    regular: Mapping[bytes, int]
    special: Mapping[str, int]
    pattern: str

    @property
    def rows(self) -> int:
        """Rows of an embedding that has one for each token."""
        return max(*self.regular.values(), *self.special.values()) + 1

    def by_id(self) -> dict[int, bytes]:
        """Return the bytes of each token."""
        special = {number: text.encode() for text, number in self.special.items()}
        return {number: token for token, number in self.regular.items()} | special


def read(data: bytes, path: str) -> TokenTable:
    """Parse a tokenizer.tok.json.

    Raises:
        GrokpackError: GP235 for one larger than any model has, GP242 if it is not of this kind or
            contradicts itself, GP306 for an unknown way to split texts.
    """
    try:
        document = bounded_json.parse(data, Place(path), _MEMORY_BYTES)
    except MalformedInput as error:
        raise broken(error.what, path) from error
    if not isinstance(document, dict):
        raise broken("the tokenizer is not a JSON object", path)
    regular = _tokens(document, "regular_tokens", path)
    special = _tokens(document, "special_tokens", path)
    texts = {_text(token, path): number for token, number in special.items()}
    table = TokenTable(regular, texts, _pattern(document, path))
    _check_together(table, document.get("vocab_size"), path)
    return table


def _tokens(document: dict[str, Any], key: str, path: str) -> dict[bytes, int]:
    """Read a list of tokens.

    Raises:
        GrokpackError: GP235 for too many, GP242 for one that is none or is there twice.
    """
    rows = document.get(key)
    if not isinstance(rows, list):
        raise broken(f"the tokenizer has no list `{key}`", path)
    if len(rows) > _MOST_TOKENS:
        raise InputTooLarge(f"{len(rows):,} tokens are more than any tokenizer has", Place(path))
    found: dict[bytes, int] = {}
    total = 0
    for row in rows:
        token, number = _token(row, key, path)
        if token in found:
            raise broken(f"{token!r} is twice in `{key}`", path)
        found[token] = number
        total += len(token)
    if total > _MOST_BYTES:
        raise InputTooLarge(f"{total:,} bytes are too many for a tokenizer", Place(path))
    return found


def _token(row: object, key: str, path: str) -> tuple[bytes, int]:
    """Read a token and its id."""
    if not isinstance(row, dict):
        raise broken(f"an entry of `{key}` is not an object", path)
    values, number = row.get("bytes"), row.get("token")
    if type(number) is not int or not 0 <= number < _MOST_TOKENS:
        raise broken(f"an entry of `{key}` has the id {number!r:.40}", path)
    if not isinstance(values, list) or not values:
        raise broken(f"token {number} of `{key}` has no bytes", path)
    if len(values) > _MOST_TOKEN_BYTES:
        what = f"token {number} of `{key}` has {len(values):,} bytes, more than any tokenizer's"
        raise InputTooLarge(what, Place(path))
    try:
        token = bytes(values)
    except (TypeError, ValueError):
        token = b""
    if not token or bool in map(type, values):  # which Python takes for bytes 0 and 1
        raise broken(f"token {number} of `{key}` has a byte that is not from 0 to 255", path)
    return token, number


def _text(token: bytes, path: str) -> str:
    """Decode a special token."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        raise broken(f"the special token {token!r:.80} is not UTF-8", path) from None


def _pattern(document: dict[str, Any], path: str) -> str:
    """Find the pattern that the file names or holds.

    Raises:
        GrokpackError: GP306 for a name that is not known, GP242 for a pattern that is none.
    """
    name, pattern = document.get("word_split"), document.get("pat_str")
    if not isinstance(name, str) or name not in split_patterns.SPLITS:
        what = f"the tokenizer splits texts in a way that is not known: {name!r:.80}"
        hint = f"known is {', '.join(split_patterns.SPLITS)}; `--tokenizer none` does without"
        raise GrokpackError("GP306", what, Place(path), hint=hint)
    if pattern is None:
        return split_patterns.SPLITS[name]
    if not isinstance(pattern, str) or not split_patterns.is_bounded(pattern):
        raise broken("`pat_str` is not a pattern by which a text could be split", path)
    if not split_patterns.is_closed(pattern):
        raise broken("`pat_str` is no pattern: a group or a class in it has no end", path)
    return pattern


def _check_together(table: TokenTable, size: object, path: str) -> None:
    """Check that no id is given twice, no byte is missing, and the size is that of the tokens.

    Raises:
        GrokpackError: GP242.
    """
    ids = [*table.regular.values(), *table.special.values()]
    if len(set(ids)) != len(ids):
        raise broken("an id belongs to two tokens", path)
    missing = [value for value in _BYTES if bytes([value]) not in table.regular]
    if missing:
        what = f"{len(missing)} of 256 single bytes are missing, the first of them {missing[0]}"
        raise broken(what, path)
    for text in table.special:
        if not table.regular.keys().isdisjoint({text.encode(), unspelled(text)}):
            raise broken(f"{text!r:.80} is a regular token and a special one", path)
    if size is not None and (size != len(ids) or max(ids) != len(ids) - 1):
        found = f"{len(ids):,} tokens with ids up to {max(ids):,}"
        raise broken(f"`vocab_size` is {size!r:.40}, and there are {found}", path)


def broken(what: str, path: str) -> GrokpackError:
    """Return the error for a file that contradicts itself."""
    hint = "fetch it again; where there is `--tokenizer`, `none` does without one"
    return GrokpackError("GP242", what, Place(path), hint=hint)
