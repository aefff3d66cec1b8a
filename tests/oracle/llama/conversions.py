"""Kinds of conversions that llama.cpp loads, with the limits of what it then computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.oracle.llama.figures import ANY, Figures

if TYPE_CHECKING:
    from tests.oracle.grokpack_process import Grokpack


@dataclass(frozen=True)
class Kind:
    """A conversion, and how far its logits may be from those of numpy.

    Attributes:
        options: Of `grokpack convert`.
        limits: Of the largest difference of a token's logits over the spread of all: a quarter of
            the tokens, half of them and all must be below. A token for which rounding chooses other
            experts may be anywhere, so that only float32 has a limit for all.
    """

    options: tuple[str, ...]
    limits: Figures


BARE = ("--tokenizer", "none")  # the small vocabularies are no tokenizer's
# About twice what is measured. llama.cpp looks GELU up in a table of float16, and rounds
# activations to what the weights are: float16, bfloat16, blocks of int8.
KINDS = {
    "f32": Kind(("--type", "f32"), (0.003, 0.003, 0.01)),
    "f16": Kind(("--type", "f16"), (0.04, 0.06, ANY)),
    "bf16": Kind(("--type", "bf16"), (0.08, 0.1, ANY)),
    "q8_0": Kind(("--type", "q8_0"), (0.15, 0.22, ANY)),
    "q8_0, embedding f32": Kind(("--type", "q8_0", "--embedding", "f32"), (0.15, 0.22, ANY)),
    "q8_0, split": Kind(("--type", "q8_0", "--split", "1MB"), (0.15, 0.22, ANY)),
}


def convert(grokpack: Grokpack, folder: Path, out: Path, kind: Kind, *more: object) -> Path:
    """The file to load: of a split, the first."""
    path = out if "--split" in kind.options else out.with_suffix(".gguf")
    grokpack("convert", folder, "--to", "gguf", *kind.options, "--out", path, *more)
    return min(path.glob("*-00001-of-*.gguf")) if path.is_dir() else path
