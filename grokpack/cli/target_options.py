"""Options of the targets of `grokpack convert` and `grokpack quantize` that both of them have."""

from __future__ import annotations

from typing import Annotated

import typer

from grokpack.cli import parsing
from grokpack.models import registry

Names = Annotated[
    str | None,
    typer.Option(
        "--names",
        metavar="|".join(registry.convention_names()),
        autocompletion=registry.convention_names,
        help="Whose names tensors have in Hugging Face folders; hpcai by default",
    ),
]
Yarn = Annotated[
    bool,
    typer.Option("--yarn", help="gguf of Grok-2: keys that make llama.cpp rotate by YaRN"),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="PATH",
        help="Its file or folder, or `none`; looked for beside SRC by default",
    ),
]


def shard_bytes(text: str | None) -> int | None:
    """Parse `--shard-size`; None stays None."""
    return None if text is None else parsing.parse_bytes("--shard-size", text)
