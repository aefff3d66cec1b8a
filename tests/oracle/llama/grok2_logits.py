"""Grok-2 in llama.cpp: what it computes from a file, and how far that is from the release.

numpy computes what llama.cpp's code says; then each of its differences is taken back in numpy,
which must be noticed. How far each moves the golden logits is told.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gguf.quants import dequantize

from tests.oracle.forward_grok2 import LIMIT, LLAMA, SGLANG, Variant, forward, load
from tests.oracle.llama.blocks import tensors
from tests.oracle.llama.broken import set_key
from tests.oracle.llama.byte_pairs import GOLDEN, RELEASE
from tests.oracle.llama.checkpoints import synthesize
from tests.oracle.llama.conversions import BARE, KINDS, convert
from tests.oracle.llama.figures import Report, distances, divergence, logits
from tests.oracle.llama.quantized import TYPES

if TYPE_CHECKING:
    from tests.oracle.forward import Array, Weights
    from tests.oracle.grokpack_process import Grokpack

# Rows of 256 and more, as the greater blocks need; query heads together as wide as the residual.
WIDE = {
    "layers": 3,
    "d-model": 256,
    "mlp": 512,
    "ffn": 256,
    "experts": 4,
    "vocab": 512,
    "heads": 8,
    "kv-heads": 2,
    "head-dim": 32,
}
OTHERS = ("q2_k", "q3_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "q5_0", "q5_1", "mxfp4")
"""Types of blocks that are held to the limits of q4_k here."""
FILES = {  # kind of conversion, options, and what llama.cpp makes of the file
    "f32": ("f32", (), LLAMA),
    "f16": ("f16", (), LLAMA),
    "bf16": ("bf16", (), LLAMA),
    "f32 --yarn": ("f32", ("--yarn",), replace(LLAMA, yarn=True)),
}
OTHERWISE = {
    "temperature": "no temperature of attention",
    "router_cap": "no cap of the router's logits",
    "renormalized": "gates of the chosen experts add up to one",
    "tanh": "GELU by tanh",
    "yarn": "YaRN",
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "lm_head": "output",
    "model.norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "w1": "ffn_gate_exps",
    "w3": "ffn_up_exps",
    "w2": "ffn_down_exps",
    "pre_attn_norm": "attn_norm",
    "post_attn_norm": "attn_output_norm",
    "pre_moe_norm": "ffn_norm",
    "post_moe_norm": "post_ffw_norm",
}
KEYS = {
    "final_logit_softcapping of 30": set_key("grok.final_logit_softcapping", 30.0),
    "logit_scale of 1": set_key("grok.logit_scale", 1.0),
    "rope.freq_base of 10,000": set_key("grok.rope.freq_base", 1e4),
    "attention.output_scale of 1": set_key("grok.attention.output_scale", 1.0),
}


@dataclass(frozen=True)
class Release:
    """A release of Grok-2 and the prompts that it is asked."""

    name: str
    folder: Path
    prompts: list[Array]
    weights: Weights
    config: dict[str, Any]

    def computed(self, variant: Variant, weights: Weights | None = None) -> list[Array]:
        """Logits in double precision, of these weights or of others."""
        own = weights or self.weights
        return [forward(own, self.config, p, np.float64, variant) for p in self.prompts]


def check(report: Report, grokpack: Grokpack, work: Path) -> None:
    """Everything about Grok-2's logits."""
    golden = Release("Grok-2's golden", RELEASE, [*np.load(GOLDEN / "tokens.npy")], *load(RELEASE))
    wide = _wide(grokpack, work / "grok-2-wide")
    for release in (golden, wide):
        _check_files(report, grokpack, release, work)
    _check_quantized(report, grokpack, wide, work)
    plain, turned = (work / f"{RELEASE.name}-{name}.gguf" for name in ("f32", "f32--yarn"))
    _check_variant(report, golden, plain)
    _check_keys(report, golden, plain, work)
    _check_evaluate(report, grokpack, plain, work)
    _tell_distances(report, golden, plain, turned)


def _wide(grokpack: Grokpack, out: Path) -> Release:
    synthesize(grokpack, out, WIDE, "--model", "grok-2")
    draw = np.random.default_rng(0)
    prompts = [draw.integers(0, WIDE["vocab"], size) for size in (5, 17, 40, 64, 64)]
    return Release("Grok-2, wide", out, prompts, *load(out))


def _check_files(report: Report, grokpack: Grokpack, release: Release, work: Path) -> None:
    """Files in floating point, with YaRN's keys and without."""
    report.title(f"{release.name}, beside numpy as llama.cpp: a quarter, half and all (limits)")
    for name, (kind, options, variant) in FILES.items():
        out = work / f"{release.folder.name}-{name.replace(' ', '')}"
        path = convert(grokpack, release.folder, out, KINDS[kind], *options, *BARE)
        found = distances(logits(path, release.prompts), release.computed(variant))
        report.within(name, found, KINDS[kind].limits)


def _check_quantized(report: Report, grokpack: Grokpack, release: Release, work: Path) -> None:
    """Every type of blocks, beside numpy on the weights that gguf-py decodes."""
    report.title(f"{release.name}, quantized, beside numpy on the decoded weights: (limits)")
    limits = dict.fromkeys(OTHERS, TYPES["q4_k"].limits)
    limits |= {kind: blocks.limits for kind, blocks in TYPES.items()}
    for kind, limit in limits.items():
        path = work / f"{release.folder.name}-{kind}.gguf"
        bits = ("--bits", 8) if kind == "q8_0" else ()
        options = (*bits, "--type", kind, "--method", "rtn", *BARE, "--out", path)
        grokpack("quantize", release.folder, "--to", "gguf", *options)
        theirs = release.computed(LLAMA, decoded(path))
        found = distances(logits(path, release.prompts), theirs)
        report.within(kind, found, limit)


def decoded(path: Path) -> Weights:
    """A file's weights by the release's names."""
    found = tensors(path)

    @functools.cache
    def values(name: str) -> Array:
        return dequantize(found[name].data, found[name].tensor_type)

    def weights(name: str) -> Array:
        base = name.removesuffix(".weight")
        if base in NAMES:
            return values(NAMES[base])
        _, _, layer, part = base.split(".", 3)
        if ".experts." not in part:
            return values(f"blk.{layer}.{NAMES[part]}")
        _, _, expert, slot = part.split(".")
        return values(f"blk.{layer}.{NAMES[slot]}")[int(expert)]

    return weights


def _check_variant(report: Report, golden: Release, path: Path) -> None:
    """Everything that llama.cpp does in its own way is seen.

    Its table of GELU in float16 is nearly as coarse as what the two forms of GELU differ by.
    """
    report.title(f"{golden.name}, one thing otherwise in numpy: all farther than (it is)")
    found = logits(path, golden.prompts)
    near = distances(found, golden.computed(LLAMA))
    for field in fields(Variant):
        value = not getattr(LLAMA, field.name)
        other = golden.computed(replace(LLAMA, **{field.name: value}))
        report.farther(f"{field.name}: {value}", distances(found, other), near)


def _check_keys(report: Report, golden: Release, path: Path, work: Path) -> None:
    """Each key counts."""
    report.title(f"{golden.name}, broken keys, as f32: must be over one of (limits)")
    exact = golden.computed(LLAMA)
    for what, change in KEYS.items():
        change(Path(shutil.copy(path, changed := work / "changed.gguf")))
        far = distances(logits(changed, golden.prompts), exact)
        report.noticed(what, far, KINDS["f32"].limits)


def _check_evaluate(report: Report, grokpack: Grokpack, path: Path, work: Path) -> None:
    """`grokpack evaluate` computes the release's network from the file, not llama.cpp's."""
    report.title("Grok-2's golden: `evaluate` of the GGUF beside the golden logits")
    out = work / "grok-2-logits.npy"
    grokpack("evaluate", path, "--tokens", GOLDEN / "tokens.npy", "--logits", out)
    wanted = np.load(GOLDEN / "logits_f32.npy")
    worst = float(np.abs(np.load(out).reshape(wanted.shape) - wanted).max())
    report.line("f32", good=worst < LIMIT, said=f"largest difference {worst:.1e} ({LIMIT:g})")


def _tell_distances(report: Report, golden: Release, plain: Path, turned: Path) -> None:
    """How far llama.cpp is from the release, and what of it is due to what."""
    report.title(
        "Grok-2's golden: from the release's logits (llama.cpp, then single causes in numpy)"
    )
    exact = list(np.load(GOLDEN / "logits_f32.npy").astype(np.float64))
    rows = {
        "llama.cpp": logits(plain, golden.prompts),
        "llama.cpp, file with --yarn": logits(turned, golden.prompts),
    }
    for name, what in OTHERWISE.items():
        alone = replace(SGLANG, **{name: not getattr(SGLANG, name)})
        rows[f"  {what}"] = golden.computed(alone)
    for what, found in rows.items():
        report.line(what, good=True, said=_distance(exact, found))
    medians = [np.median(divergence(exact, found)) for found in list(rows.values())[:2]]
    report.line("nearer without YaRN", good=bool(medians[0] < medians[1]))


def _distance(exact: list[Array], found: list[Array]) -> str:
    """Differences of logits, divergence, and agreement on the likeliest token."""
    ours, theirs = np.concatenate(found), np.concatenate(exact)
    rows, lost = np.abs(ours - theirs).max(-1), divergence(exact, found)
    same = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
    return (
        f"logits: median {np.median(rows):.2g}, at most {rows.max():.2g}; "
        f"KL: median {np.median(lost):.2g}, mean {lost.mean():.2g} nats; "
        f"same best token {same:.0%}"
    )
