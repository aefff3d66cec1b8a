"""Importance that `grokpack evaluate --calibrate` writes, in llama.cpp's own quantizer.

llama.cpp gets it as the program llama-quantize passes it on: each matrix's mean squares. Both must
then make the same blocks of the same file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader

from tests.oracle.llama.blocks import unlike
from tests.oracle.llama.model import quantize

if TYPE_CHECKING:
    from tests.oracle.forward import Array
    from tests.oracle.llama.checkpoints import Grokpack, Source
    from tests.oracle.llama.figures import Report

BF16 = int(GGMLQuantizationType.BF16)
TYPES: dict[str, tuple[int, int | None]] = {
    **{kind: (number, BF16) for kind, number in (("q3_k", 11), ("q4_k", 14), ("q5_k", 16))},
    **{kind: (number, BF16) for kind, number in (("iq4_xs", 30), ("iq4_nl", 25))},
    **{kind: (number, None) for kind, number in (("q2_k", 10), ("q6_k", 18), ("q3_k_m", 12))},
    **{kind: (number, None) for kind, number in (("q4_k_m", 15), ("q5_k_m", 17))},
}
"""Number of a type or mix in `llama_ftype`; the embedding's type where matrices are of one type."""


def mean_squares(path: Path) -> dict[str, Array]:
    """Return the importance of a matrix's inputs, by its name; of an unused expert, ones."""
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
    names = [name.removesuffix(".in_sum2") for name in tensors if name.endswith(".in_sum2")]
    found = {}
    for name in names:
        sums, counts = tensors[f"{name}.in_sum2"], tensors[f"{name}.counts"].reshape(-1, 1)
        sums = sums.reshape(len(counts), -1)
        means = np.divide(sums, counts, out=np.ones_like(sums), where=counts > 0)
        found[name] = np.ascontiguousarray(means.reshape(-1), np.float32)
    return found


def check(report: Report, grokpack: Grokpack, source: Source, work: Path) -> None:
    """Compare every type's blocks; without importance they must be others."""
    report.title(f"{source.name}: blocks by importance, beside llama.cpp's own quantizer")
    plain, matrix, tokens = (work / f"important.{end}" for end in ("gguf", "imatrix.gguf", "npy"))
    grokpack("convert", source.folder, "--to", "gguf", "--type", "bf16", "--tokenizer", "none",
             "--out", plain)  # fmt: skip
    longest = max(source.prompts, key=len)
    np.save(tokens, np.array([p for p in source.prompts if len(p) == len(longest)]))
    grokpack("evaluate", source.folder, "--tokens", tokens, "--calibrate", matrix)
    known = mean_squares(matrix)
    for kind, (number, embedding) in TYPES.items():
        ours, theirs, other = (work / f"{kind}-{end}.gguf" for end in ("ours", "theirs", "plain"))
        words = "--to", "gguf", "--type", kind, "--tokenizer", "none"
        grokpack("quantize", plain, *words, "--importance", matrix, "--out", ours)
        quantize(plain, theirs, number, embedding=embedding, importance=known)
        quantize(plain, other, number, embedding=embedding)
        count, names = unlike(ours, theirs)
        _, without = unlike(ours, other)
        said = f"{len(names)} of {count} tensors differ {' '.join(names[:3])}"
        report.line(kind, good=not names, said=said.rstrip())
        said = f"{len(without)} differ"
        report.line("  without importance: must be others", good=bool(without), said=said)
