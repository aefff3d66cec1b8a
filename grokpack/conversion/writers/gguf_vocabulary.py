"""Vocabulary of a GGUF: the tokenizer beside the source, as llama.cpp takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint import tokenizer_files
from grokpack.core.errors import GrokpackError
from grokpack.formats.tokenizers.tokenizer_kinds import KINDS
from grokpack.models import hyperparameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.formats.tokenizers.tokenizer_kinds import Tokenizer
    from grokpack.formats.tokenizers.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class GgufVocabulary:
    """Vocabulary of a model.

    Attributes:
        vocabulary: Tokens and how they are merged.
        special: Ids of special tokens by llama.cpp's names for their uses; -1 for none.
        chat_template: Jinja template of conversations; None for a model that has none.
    """

    vocabulary: Vocabulary
    special: Mapping[str, int]
    chat_template: str | None

    def add_to(self, writer: Any) -> None:  # noqa: ANN401  # gguf.GGUFWriter
        """Add the keys of the vocabulary to a file."""
        own = self.vocabulary
        writer.add_tokenizer_model(own.model)
        writer.add_tokenizer_pre(own.pre)
        writer.add_token_list(own.tokens)
        if own.scores:
            writer.add_token_scores(own.scores)
        writer.add_token_types(own.types)
        if own.merges:
            writer.add_token_merges(own.merges)
        if own.unknown is not None:
            writer.add_unk_token_id(own.unknown)
        writer.add_add_bos_token(False)  # noqa: FBT003  # the reference adds none to its prompts
        if own.space_prefix is not None:
            writer.add_add_space_prefix(own.space_prefix)
        for name, number in self.special.items():
            if number >= 0:  # -1 is no token
                writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
        if self.chat_template is not None:
            writer.add_chat_template(self.chat_template)


def read_vocabulary(source: Checkpoint, given: str | None) -> GgufVocabulary | None:
    """Read the tokenizer of a checkpoint; None where none is wanted.

    Args:
        source: The checkpoint, beside which it is looked for.
        given: Its file or folder; None to look for it, `none` for none.

    Raises:
        GrokpackError: GP306 where there is none that fits, and as reading it raises.
    """
    if given == tokenizer_files.NO_TOKENIZER:
        return None
    own = source.model.family.tokenizer
    path = tokenizer_files.find_tokenizer(source, given)
    if path is None:
        where = tokenizer_files.origin(source.model)
        hint = (
            f"name it with --tokenizer{where}; `--tokenizer none` writes a file without vocabulary"
        )
        file = KINDS[own.kind].file
        what = f"a GGUF holds its tokenizer, and no {file} was found beside the checkpoint"
        raise GrokpackError("GP306", what, hint=hint)
    rows = source.geometry.vocab
    tokenizer = KINDS[own.kind].read(tokenizer_files.read_small(path), path)
    vocabulary = tokenizer.vocabulary(rows)
    if len(vocabulary.tokens) != rows:
        facts = (
            ("tokenizer", f"{len(vocabulary.tokens):,} pieces"),
            ("embedding", f"{rows:,} rows"),
        )
        what = "the tokenizer is another model's"
        hint = "name the right one with --tokenizer; `--tokenizer none` writes none"
        raise GrokpackError("GP306", what, None, facts, hint)
    template = own.chat.template() if own.chat else None
    return GgufVocabulary(vocabulary, _special_ids(source, tokenizer), template)


def _special_ids(source: Checkpoint, tokenizer: Tokenizer) -> dict[str, int]:
    """Find the ids of special tokens: in the tokenizer, or else in the model's config.

    Raises:
        GrokpackError: GP306 where one of config.json is not in the vocabulary.
    """
    named = source.model.family.tokenizer.special
    if named:
        return {use: tokenizer.special[t] for use, t in named.items() if t in tokenizer.special}
    known = hyperparameters.read(source.config, source.model)
    special = {"bos": known.bos, "eos": known.eos, "padding": known.pad}
    last = source.geometry.vocab - 1
    for name, number in special.items():
        if number > last:
            what = f"the {name} token of config.json is {number:,}, the last piece {last:,}"
            raise GrokpackError("GP306", what, hint="correct config.json, or name its tokenizer")
    return special
