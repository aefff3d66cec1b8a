"""Small files that go with a converted model: tokenizer, licence, modelling code, a card."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack.checkpoint.tokenizer_files import TOKENIZER, TOKENIZER_JSON, read_small

if TYPE_CHECKING:
    from collections.abc import Collection

    from grokpack.checkpoint.checkpoint import Checkpoint


def template(name: str) -> bytes:
    """Read a file that is shipped with grokpack to be put into outputs."""
    return read_small(os.path.join(os.path.dirname(os.path.dirname(__file__)), "templates", name))


def code(source: Checkpoint) -> dict[str, bytes]:
    """The modelling code that runs the model in transformers, where its family has some."""
    return {name: template(name) for name in source.model.family.code}


def card(title: str, source: Checkpoint, how: str, usage: str, tokenizer: Collection[str]) -> bytes:
    """Render README.md: what the folder is, where it came from, how to load it.

    Args:
        title: Its first line.
        source: What it was made from.
        how: One sentence: what was done to the weights.
        usage: A paragraph of Markdown: how to load it.
        tokenizer: Names of the tokenizer's files in the folder.
    """
    own = source.model.family.publication
    text = f"""---
license: {own.license}
base_model: {own.repository}
---

# {title}

{how}

Made by grokpack from a {source.format} checkpoint whose identity (sha256 of its headers) is
`{source.identity()}`. `grokpack.json` holds the plan, sizes and checksums. The weights are
{own.organization}'s, released under the {own.license_words}.

{usage}

{_tokenizer_usage(tokenizer)}
"""
    return text.encode()


def _tokenizer_usage(held: Collection[str]) -> str:
    if TOKENIZER_JSON in held:
        return "`AutoTokenizer.from_pretrained(FOLDER)` reads the tokenizer."
    if TOKENIZER not in held:
        return "There is no tokenizer here; the model takes token ids."
    return _FOR_4_57


_FOR_4_57 = """The tokenizer is `tokenizer.model`; there is no `tokenizer.json`.
`AutoTokenizer.from_pretrained(FOLDER)` reads it in transformers 5. transformers 4.57 needs a
`tokenizer.json`: without one, take ids from sentencepiece,
`SentencePieceProcessor(model_file="FOLDER/tokenizer.model").encode(TEXT)`."""
