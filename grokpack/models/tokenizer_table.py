"""Tokenizer of a family: its kind, its special tokens, and conversations as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

TokenizerKind = Literal["sentencepiece", "byte-pairs"]


@dataclass(frozen=True, slots=True, eq=False)
class ChatFormat:
    """Conversations as one text, in turns.

    Attributes:
        labels: What stands before the words of each role.
        end: What stands behind them.
        stripped: Roles whose words lose the spaces around them.
        answer: What asks for the model's turn.
    """

    labels: Mapping[str, str]
    end: str
    stripped: Collection[str]
    answer: str

    def text(self, messages: Iterable[tuple[str, str]]) -> str:
        """Return a conversation, of pairs of role and words, up to the model's next turn."""
        turns = (self._turn(role, words) for role, words in messages)
        return "".join(turns) + self.answer

    def _turn(self, role: str, words: str) -> str:
        return self.labels[role] + (words.strip() if role in self.stripped else words) + self.end

    def template(self) -> str:
        """Return the text as a Jinja template, the form in which engines take it.

        llama.cpp knows some templates by their letters: the two spaces of a role whose words are
        not stripped are among them.
        """
        turns = "".join(
            f"{{% {'elif' if number else 'if'} message['role'] == '{role}' %}}"
            f"{{{{ {self._words(role)} + {_quoted(self.end)} }}}}"
            for number, role in enumerate(self.labels)
        )
        answer = f"{{% if add_generation_prompt %}}{{{{ {_quoted(self.answer)} }}}}{{% endif %}}"
        return f"{{% for message in messages %}}{turns}{{% endif %}}{{% endfor %}}{answer}"

    def _words(self, role: str) -> str:
        label = _quoted(self.labels[role])
        if role in self.stripped:
            return f"{label} + message['content'].strip()"
        return f"{label}  + message['content']"


def _quoted(text: str) -> str:
    return "'" + text.replace("\n", "\\n") + "'"


@dataclass(frozen=True, slots=True, eq=False)
class TokenizerTable:
    """Tokenizer of a family.

    Attributes:
        kind: Kind of its file.
        released: True if releases have it beside their weights; then it goes into every folder.
        sha256: Checksum of the release's file, where only that one is described by `config`.
        config: The tokenizer_config.json by which transformers cuts texts as the reference does;
            special tokens that a file does not have are left out.
        special: Special tokens by llama.cpp's names for their uses; empty where config.json of the
            model has their ids.
        stops: Special tokens at which a generation ends; empty likewise.
        chat: Form of conversations; None for a model that has not learned any.
    """

    kind: TokenizerKind = "sentencepiece"
    released: bool = False
    sha256: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    special: Mapping[str, str] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    chat: ChatFormat | None = None
