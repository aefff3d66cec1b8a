"""Conversations from files, as messages of a role and its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import GrokpackError, Place

if TYPE_CHECKING:
    from collections.abc import Collection

    from grokpack.models.family import Family
    from grokpack.models.tokenizer_table import ChatFormat

Message = tuple[str, str]
"""Role, and what it says."""
USER = "user"
_MOST_MESSAGES = 1 << 16
_FORM = '[{"role": "user", "content": "..."}, ...]'


def chat_format(family: Family) -> ChatFormat:
    """Return the form of a family's conversations.

    Raises:
        GrokpackError: GP304 for a family that has not learned any.
    """
    if family.tokenizer.chat is None:
        what = f"{family.title} has learned no conversations, so there is no form for them"
        raise GrokpackError("GP304", what, hint="leave --chat, and write the prompt as a text")
    return family.tokenizer.chat


def read_messages(path: str, roles: Collection[str]) -> list[Message]:
    """Read a conversation from a JSON file.

    Args:
        path: The file: a list of objects with `role` and `content`.
        roles: Roles that there are.

    Raises:
        GrokpackError: GP342 for a file that holds no conversation, and as JSON from outside does.
    """
    if not storage.is_file(path):
        raise GrokpackError("GP342", "there is no such file", Place(path))
    rows = storage.read_json(path)
    if not isinstance(rows, list) or not 0 < len(rows) <= _MOST_MESSAGES:
        raise GrokpackError("GP342", "not a list of messages", Place(path), hint=f"write {_FORM}")
    return [_message(row, number, path, roles) for number, row in enumerate(rows, 1)]


def _message(row: object, number: int, path: str, roles: Collection[str]) -> Message:
    """Check a message: one of another role would be left out without a word."""
    held = row if isinstance(row, dict) else {}
    role, words = held.get("role"), held.get("content")
    if isinstance(role, str) and role in roles and isinstance(words, str):
        return role, words
    what = f"message {number} has no role of {', '.join(sorted(roles))}, or no text as its content"
    raise GrokpackError("GP342", what, Place(path), hint=f"write {_FORM}")
