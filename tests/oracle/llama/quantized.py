"""Files of `grokpack quantize --to gguf` in llama.cpp.

numpy computes what llama.cpp must, from the weights that gguf-py decodes; llama.cpp's own
quantizer, given the same weights, must write the same blocks.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType

from tests.oracle.forward import Array, load
from tests.oracle.llama.blocks import SAME, decoded, errors, released, tensors, unlike
from tests.oracle.llama.checkpoints import Source, synthesize
from tests.oracle.llama.figures import ANY, Figures, Report, as_llama, distances, divergence, logits
from tests.oracle.llama.model import quantize

if TYPE_CHECKING:
    from tests.oracle.grokpack_process import Grokpack

# Two layers: after twelve of noise, any four bits are as far from the exact logits as any others.
SHALLOW = {
    "layers": 2,
    "d-model": 512,
    "ffn": 1024,
    "experts": 4,
    "vocab": 512,
    "heads": 8,
    "kv-heads": 2,
    "head-dim": 64,
}
PROMPTS = (5, 17, 40, 64, 64, 64)


@dataclass(frozen=True)
class Blocks:
    """A type of blocks.

    Attributes:
        number: In `llama_ftype`, for llama.cpp's own quantizer.
        limits: Of the distance of llama.cpp's logits from numpy's on the same decoded weights.
        searched: Whether `--method` makes a difference; without a search, blocks are ggml's own.
    """

    number: int
    limits: Figures
    searched: bool = False


PLAIN, SEARCHED = "rtn", "mse"
# About twice what is measured: llama.cpp rounds activations to int8, of q4_k in blocks of 256.
TYPES = {
    "q8_0": Blocks(7, (0.25, 0.3, ANY)),
    "q4_k": Blocks(14, (0.35, 0.45, ANY)),
    "q4_1": Blocks(3, (0.25, 0.3, ANY), searched=True),
    "q4_0": Blocks(2, (0.25, 0.3, ANY), searched=True),
}


def check(report: Report, grokpack: Grokpack, deep: Source, work: Path) -> None:
    """Everything about quantized files; `deep` has layers whose file order is not their own."""
    shallow = _shallow(grokpack, work / "shallow")
    for source in (deep, shallow):
        paths = {
            (kind, method): _quantize(grokpack, source.folder, work, kind, method)
            for kind, blocks in TYPES.items()
            for method in ((PLAIN, SEARCHED) if source is shallow and blocks.searched else (PLAIN,))
        }
        found = {which: logits(path, source.prompts) for which, path in paths.items()}
        _check_logits(report, source, paths, found)
        _check_divergence(report, source, found, judged=source is shallow)
    _check_weights(report, shallow, paths)
    for kind in ("q4_1", "q4_0"):
        other = _quantize(grokpack, shallow.folder, work, kind, "lsq")
        count, names = unlike(paths[kind, SEARCHED], other)
        said = f"{len(names)} of {count} tensors differ"
        report.line(f"{kind}: lsq is {SEARCHED}", good=not names, said=said)
    _check_own(report, grokpack, shallow, work)


def _shallow(grokpack: Grokpack, out: Path) -> Source:
    weights, config = load(synthesize(grokpack, out, SHALLOW))
    draw = np.random.default_rng(0)
    prompts = [draw.integers(1, config["vocab_size"], size) for size in PROMPTS]
    kept = functools.cache(weights)
    return Source("shallow", out, prompts, [as_llama(kept, config, p) for p in prompts])


def _quantize(grokpack: Grokpack, source: Path, work: Path, kind: str, method: str) -> Path:
    path = work / f"{source.stem}-{kind}-{method}.gguf"
    bits = 8 if kind == "q8_0" else 4
    options = ("--bits", bits, "--type", kind, "--method", method, "--tokenizer", "none")
    grokpack("quantize", source, "--to", "gguf", *options, "--out", path)
    return path


Paths = dict[tuple[str, str], Path]
Found = dict[tuple[str, str], list[Array]]


def _check_logits(report: Report, source: Source, paths: Paths, found: Found) -> None:
    """llama.cpp beside numpy, both with a file's own weights."""
    report.title(
        f"{source.name}, quantized, beside numpy on the decoded weights: "
        "a quarter, half and all within (limits)"
    )
    config = load(source.folder)[1]
    for (kind, method), path in paths.items():
        weights = decoded(path)
        theirs = [as_llama(weights, config, prompt) for prompt in source.prompts]
        limits = TYPES[kind].limits
        report.within(f"{kind} {method}", distances(found[kind, method], theirs), limits)
        if method == PLAIN and (kind, SEARCHED) in found:
            other = distances(found[kind, SEARCHED], theirs)
            report.noticed(f"{kind}, weights of another method: must be over", other, limits)


def _check_divergence(report: Report, source: Source, found: Found, *, judged: bool) -> None:
    """How far llama.cpp's probabilities are from those of the weights as released."""
    report.title(f"{source.name}: KL divergence from the exact logits, in nats")
    half = {}
    for (kind, method), rows in found.items():
        lost = divergence(source.logits, rows)
        half[kind, method] = float(np.median(lost))
        said = f"median {half[kind, method]:.2e}, mean {lost.mean():.2e}"
        report.line(f"{kind} {method}", good=bool(np.isfinite(lost).all()), said=said)
    if not judged:
        return
    finer = max(half["q4_k", PLAIN], half["q4_1", PLAIN])
    good = half["q8_0", PLAIN] < finer / 10 and finer < half["q4_0", PLAIN]
    report.line("q8_0 far below q4_k and q4_1, both below q4_0", good=good)
    for kind in ("q4_1", "q4_0"):
        good = half[kind, SEARCHED] < half[kind, PLAIN]
        report.line(f"{kind}: {SEARCHED} below {PLAIN}", good=good)


def _check_weights(report: Report, source: Source, paths: Paths) -> None:
    """Errors of the weights: of all together, and block by block against ggml's."""
    report.title(f"{source.name}: weights against those released")
    exact = dict(released(source.folder))
    total = sum(float(np.square(x, dtype=np.float64).sum()) for x in exact.values())
    found = {which: errors(path, exact) for which, path in paths.items()}
    for (kind, method), own in found.items():
        said = f"SQNR {10 * np.log10(total / sum(e.sum() for e in own.values())):.2f} dB"
        plain = found[kind, PLAIN]
        worse = sum(int((own[name] > plain[name] * SAME).sum()) for name in own)
        better = all(own[name].sum() < plain[name].sum() for name in own)
        if method != PLAIN:
            said += f", {worse} of {sum(e.size for e in own.values()):,} blocks worse than ggml's"
        report.line(f"{kind} {method}", good=method == PLAIN or (better and not worse), said=said)


def _check_own(report: Report, grokpack: Grokpack, source: Source, work: Path) -> None:
    """llama.cpp's own quantizer on the same files: its blocks, and what its mixtures lose."""
    report.title(f"{source.name}: llama.cpp's own quantizer without an importance matrix")
    for dtype in ("f32", "bf16"):
        plain = work / f"exact-{dtype}.gguf"
        options = ("--type", dtype, "--tokenizer", "none", "--out", plain)
        grokpack("convert", source.folder, "--to", "gguf", *options)
        for kind, blocks in TYPES.items():
            ours = _quantize(grokpack, plain, work, kind, PLAIN)
            theirs = work / f"theirs-{dtype}-{kind}.gguf"
            quantize(plain, theirs, blocks.number, embedding=int(GGMLQuantizationType.BF16))
            count, names = unlike(ours, theirs)
            said = f"{len(names)} of {count} tensors differ {' '.join(names[:3])}"
            report.line(f"{dtype} to {kind}, all matrices", good=not names, said=said.rstrip())
            _report_mixture(report, source, plain, work / f"mixed-{dtype}-{kind}.gguf", kind)


def _report_mixture(report: Report, source: Source, plain: Path, out: Path, kind: str) -> None:
    """What llama.cpp makes of a file where it is left to choose types."""
    quantize(plain, out, TYPES[kind].number)
    lost = divergence(source.logits, logits(out, source.prompts))
    types = Counter(t.tensor_type.name for t in tensors(out).values() if len(t.shape) > 1)
    said = f"KL median {np.median(lost):.2e}, mean {lost.mean():.2e}; "
    said += ", ".join(f"{count} {name}" for name, count in types.items())
    report.line("  as it mixes types", good=bool(np.isfinite(lost).all()), said=said)
