"""Files of `grokpack quantize --to gguf` beside those of the program llama-quantize.

Both get the GGUF in bfloat16 or float16 that `convert` wrote, and the importance matrix that
`evaluate --calibrate` wrote. Every tensor must have the same type and the same bytes. Where
grokpack searches for better scales, no block may be farther from its weights than ggml's reference;
by importance, under which llama-quantize searches too, all blocks together may not be.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

from tests.oracle.llama.blocks import SAME, errors, tensors, unlike
from tests.oracle.llama.checkpoints import synthesize

if TYPE_CHECKING:
    from tests.oracle.forward import Array
    from tests.oracle.grokpack_process import Grokpack
    from tests.oracle.llama.figures import Report

BARE = ("--tokenizer", "none")
PURE = ("--pure", "--token-embedding-type", "bf16", "--output-tensor-type", "bf16")


@dataclass(frozen=True)
class Kind:
    """A type or mix as both programs have it.

    Attributes:
        ours: Value of grokpack's `--type`.
        pure: Whether all matrices get this type, and embedding and head stay bfloat16.
        searched: Whether grokpack's scales are ggml's only with `--method rtn`.
        weighed: Whether grokpack takes an importance matrix for it.
    """

    ours: str
    pure: bool = False
    searched: bool = False
    weighed: bool = True

    @property
    def exact(self) -> tuple[str, ...]:
        """Options that make ggml's own bytes."""
        return ("--method", "rtn") if self.searched else ()


KINDS = {
    "Q8_0": Kind("q8_0", pure=True, weighed=False),
    "Q4_0": Kind("q4_0", pure=True, searched=True),
    "Q4_K_M": Kind("q4_k_m"),
    "Q5_K_M": Kind("q5_k_m"),
    "Q3_K_M": Kind("q3_k_m"),
    "Q2_K": Kind("q2_k"),
    "Q6_K": Kind("q6_k"),
    "IQ4_XS": Kind("iq4_xs", pure=True),
    "IQ4_NL": Kind("iq4_nl", pure=True),
    "Q3_K_S": Kind("q3_k", pure=True),
    "Q4_K_S": Kind("q4_k", pure=True),
    "Q5_K_S": Kind("q5_k", pure=True),
    "MXFP4_MOE": Kind("mxfp4", searched=True),
}
"""What llama-quantize calls it, and what grokpack does."""

COMMON = {"d-model": 256, "ffn": 256, "vocab": 512, "heads": 8, "head-dim": 32}
MODELS = {
    # llama.cpp's mixes ask for eight experts, for four query heads to a key head, for sixteenths
    # of the layers.
    "Grok-1": (COMMON | {"layers": 16, "experts": 8, "kv-heads": 2}, (), "bf16"),
    "Grok-2": (
        COMMON | {"layers": 8, "experts": 4, "kv-heads": 4, "mlp": 512},
        ("--model", "grok-2"),
        "f16",
    ),
}
"""Dimensions, options of `synth`, and dtype of the GGUF that is quantized."""


@dataclass(frozen=True)
class Bench:
    """Both programs on one file.

    Attributes:
        grokpack: Runs grokpack.
        program: llama-quantize.
        plain: The GGUF in floating point.
        matrix: The importance matrix.
        work: A folder for what they write.
    """

    grokpack: Grokpack
    program: Path
    plain: Path
    matrix: Path
    work: Path

    def ours(self, kind: Kind, *options: object) -> Path:
        out = self.work / "ours.gguf"
        words = ("quantize", self.plain, "--restart", "--to", "gguf", "--type", kind.ours)
        self.grokpack(*words, *options, *BARE, "--out", out)
        return out

    def theirs(self, name: str, kind: Kind, *, weighed: bool) -> Path:
        out = self.work / f"theirs-{'weighed' if weighed else 'plain'}.gguf"
        options = (*(("--imatrix", self.matrix) if weighed else ()), *(PURE if kind.pure else ()))
        command = [self.program, *options, self.plain, out, name, 1]
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
        return out


def check(report: Report, grokpack: Grokpack, program: Path, work: Path) -> None:
    """Compare files of both models, without an importance matrix and with one."""
    for model, (dimensions, options, dtype) in MODELS.items():
        folder = work / f"program-{model}"
        folder.mkdir()
        source, plain, matrix = folder / "source", folder / "plain.gguf", folder / "matrix.gguf"
        synthesize(grokpack, source, dimensions, *options)
        grokpack("convert", source, "--to", "gguf", "--type", dtype, *BARE, "--out", plain)
        tokens = folder / "tokens.npy"
        np.save(tokens, np.random.default_rng(0).integers(1, dimensions["vocab"], (4, 64)))
        grokpack("evaluate", source, "--tokens", tokens, "--calibrate", matrix)
        report.title(f"{model} in {dtype}: files of llama-quantize, without importance and with")
        bench = Bench(grokpack, program, plain, matrix, folder)
        for name, kind in KINDS.items():
            _check_kind(report, bench, name, kind)


def _check_kind(report: Report, bench: Bench, name: str, kind: Kind) -> None:
    plain = bench.theirs(name, kind, weighed=False)
    _check_same(report, name, bench.ours(kind, *kind.exact), plain)
    if kind.searched:
        _check_searched(report, bench, f"{name}, searched", bench.ours(kind), plain)
    weighed = bench.theirs(name, kind, weighed=True)
    what, options = f"{name} --imatrix", ("--importance", bench.matrix)
    if kind.searched:
        known = importance(bench.matrix)
        ours = bench.ours(kind, *options)
        _check_searched(report, bench, f"{what}, beside the plain one", ours, plain, known)
        _check_searched(report, bench, what, ours, weighed, known, every=False)
    elif kind.weighed:
        _check_same(report, what, ours := bench.ours(kind, *options), weighed)
        _, names = unlike(ours, plain)
        report.line("  must not be the plain one", good=bool(names), said=f"{len(names)} differ")
    else:
        _check_same(report, what, plain, weighed)


def importance(path: Path) -> dict[str, Array]:
    """Return what errors of a matrix's inputs count, by its name; of an unused expert all alike.

    Mean squares, 1 on average, and a hundredth for inputs that were silent.
    """
    found = {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
    made = {}
    for name, sums in found.items():
        if name.endswith(".in_sum2"):
            counts = found[name.replace(".in_sum2", ".counts")].reshape(-1, 1)
            rows = sums.reshape(len(counts), -1)
            means = np.divide(rows, counts, out=np.ones_like(rows), where=counts > 0)
            made[name.removesuffix(".weight.in_sum2")] = (
                means / means.mean(-1, keepdims=True) + 0.01
            )
    return made


def _check_same(report: Report, what: str, ours: Path, theirs: Path) -> None:
    """Compare types and bytes of every tensor."""
    count, names = unlike(ours, theirs)
    said = f"{len(names)} of {count} tensors differ {' '.join(names[:3])}"
    report.line(what, good=count > 0 and not names, said=said.rstrip())


def _check_searched(
    report: Report,
    bench: Bench,
    what: str,
    ours: Path,
    theirs: Path,
    known: dict[str, Array] | None = None,
    *,
    every: bool = True,
) -> None:
    """Compare types of every tensor, and errors, weighed by importance, of each block or all."""
    own, other = ({n: t.tensor_type for n, t in tensors(p).items()} for p in (ours, theirs))
    exact = {n: dequantize(t.data, t.tensor_type) for n, t in tensors(bench.plain).items()}
    exact = {n: values for n, values in exact.items() if values.ndim > 1}
    nearer, farther = (errors(path, exact, known) for path in (ours, theirs))
    worse = sum(int((nearer[n] > farther[n] * SAME).sum()) for n in exact)
    blocks = sum(e.size for e in nearer.values())
    gain = sum(e.sum() for e in farther.values()) / sum(e.sum() for e in nearer.values())
    said = f"{worse} of {blocks:,} blocks worse, {10 * np.log10(gain):.2f} dB better"
    better = not worse if every else gain > 1
    report.line(what, good=own == other and better, said=said)
