"""Folders that `grokpack quantize` writes in vLLM 0.24, against the network in numpy.

python -m tests.oracle.vllm.quantized SOURCE --python PYTHON_OF_GROKPACK --work FOLDER: SOURCE is a
ckpt-0 checkpoint. The build for CPU lacks kernels for most of them: see standin.py.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tests.oracle import forward
from tests.oracle.ct.folders import Folder
from tests.oracle.grokpack_process import run_all
from tests.oracle.vllm.check import LIMIT, LIMIT_BF16, network
from tests.oracle.vllm.running import Array, prompts, run_vllm, verdict

POLICY = """[[tensors]]
role = "attention"
bits = 8
group = "channel"
"""
GPTQ_4, CT_8 = "--bits 4 --to gptq", "--bits 8 --to compressed-tensors"
GELU = "No WNA16 MoE backend supports the deployment"


@dataclass(frozen=True)
class Case:
    """A folder, and what vLLM must make of it.

    Attributes:
        options: Of `grokpack quantize`; `POLICY` stands for a file of that text.
        stand_in: Whether kernels are replaced, and the arithmetic is float32.
        refused: What vLLM must say instead of loading it.
        broken: A module whose scales are reversed, which the comparison must notice.
    """

    options: str
    stand_in: bool = True
    refused: str | None = None
    broken: str | None = None

    @property
    def title(self) -> str:
        spoilt = ", scales of one expert reversed" if self.broken else ""
        return f"{self.options}{spoilt}"


WIDE = "avx512f" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
"""Whether vLLM has its kernel for matrices of 4 bits here; its library for AVX2 does not."""
CASES = [
    Case("--bits 4 --keep experts", stand_in=not WIDE),
    Case(f"{GPTQ_4} --keep experts", stand_in=not WIDE),
    Case("--bits 4", stand_in=False, refused=GELU),
    Case(GPTQ_4, stand_in=False, refused=GELU),
    Case("--bits 8", stand_in=False, refused="Marlin does not support weight_bits = uint8b128"),
    Case(
        f"{CT_8} --group channel",
        stand_in=False,
        refused="Quant type (uint8b128) not supported by CPUWNA16",
    ),
    Case("--bits 4"),
    Case("--bits 4", broken="model.layers.1.moe_block.experts.3.linear_v"),
    Case("--bits 4 --group channel --method lsq"),
    Case("--bits 4 --asymmetric"),
    Case("--bits 4 --policy POLICY"),
    Case("--bits 4 --keep attention"),
    Case(f"{CT_8} --group channel"),
    Case(CT_8, refused="assert self.group_size == -1"),
    Case(f"{CT_8} --keep experts"),
    Case(GPTQ_4),
    Case("--bits 8"),
    Case("--bits 8 --keep attention"),
    Case("--bits 8 --keep experts"),
    Case("--bits 4 --keep linear_v", refused="All MoE projections need to have same"),
]


def make(python: str, source: Path, work: Path, cases: list[Case]) -> list[Path]:
    """The folder of each case."""
    policy = work / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    places = {case.options: work / f"folder-{number}" for number, case in enumerate(cases)}
    commands = [
        ["quantize", str(source), *options.replace("POLICY", str(policy)).split(), "-o", str(out)]
        for options, out in places.items()
    ]
    run_all(python, commands)
    return [
        spoil(places[case.options], case.broken, work / f"spoilt-{number}")
        if case.broken
        else places[case.options]
        for number, case in enumerate(cases)
    ]


def spoil(folder: Path, module: str, out: Path) -> Path:
    """A copy in which the scales of one module are in the opposite order."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(folder, out)
    (path,) = out.glob("*.safetensors")
    arrays = load_file(path)
    name = f"{module}.weight_scale"
    arrays[name] = np.ascontiguousarray(arrays[name][::-1])
    save_file(arrays, path, metadata={"format": "pt"})
    return out


@dataclass(frozen=True)
class Network:
    """The network in numpy, as vLLM computes it.

    Attributes:
        compute: Logits of all prompts, of any weights.
        decode: The weights of a quantized folder.
        released: The weights that it was made of.
        limit: Of any log probability, in float32.
    """

    compute: Callable[[forward.Weights], Array]
    decode: Callable[[Path], forward.Weights]
    released: forward.Weights
    limit: float

    @cached_property
    def wanted(self) -> Array:
        """Log probabilities of the released weights."""
        return forward.log_softmax(self.compute(self.released))

    def compare(self, case: Case, found: Array, folder: Path) -> tuple[bool, str]:
        """Whether vLLM's log probabilities are those of the decoded weights, and the figures."""
        logits = self.compute(self.decode(folder))
        rows = np.abs(found - forward.log_softmax(logits)).max(axis=-1)
        spread = float(logits.std())
        lost = float(np.median(np.abs(found - self.wanted).max(axis=-1))) / spread
        share = float(np.median(rows)) / spread
        figures = f"at most {rows.max():.1e}" if case.stand_in else f"median {share:.3f}"
        good = bool(rows.max() < self.limit) if case.stand_in else share < LIMIT_BF16
        return good, f"{figures}; from the released weights {lost:.2f} of the spread"


def grok1(source: Path) -> Network:
    """The network of a ckpt-0 checkpoint."""
    weights, config = forward.load(source)
    ids = prompts(config["vocab_size"])
    return Network(
        lambda some: network(functools.cache(some), config, ids, as_vllm=True),
        lambda folder: Folder(folder, source).weights(),
        weights,
        LIMIT,
    )


def judge(case: Case, network: Network, folder: Path, found: Array | str) -> tuple[bool, str]:
    """Whether vLLM made of a folder what it must, and the figures or its words.

    Args:
        case: What was asked.
        network: What it is held against.
        folder: What is right; of a broken case, what it was before.
        found: What vLLM computed, or said.
    """
    if isinstance(found, str):
        if case.refused is not None:
            return case.refused in found, f"refused: {case.refused}"
        return False, found[-2000:]
    if case.refused is not None:
        return False, "loaded"
    good, figures = network.compare(case, found, folder)
    return good != bool(case.broken), figures


def check(cases: list[Case], network: Network, python: str, source: Path, work: Path) -> bool:
    """Quantize, load, compare."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    folders, every = make(python, source, work, cases), True
    whole = {case.options: folders[n] for n, case in enumerate(cases) if not case.broken}
    for title, stand_in in (("vLLM's own kernels, bfloat16", False), ("stand-ins, float32", True)):
        numbers = [n for n, case in enumerate(cases) if case.stand_in == stand_in]
        if not numbers:
            continue
        print(f"quantized, {title}", flush=True)
        dtype = "float32" if stand_in else "bfloat16"
        made = run_vllm([(folders[n], dtype) for n in numbers], stand_in=stand_in)
        for n, found in zip(numbers, made, strict=True):
            good, figures = judge(cases[n], network, whole[cases[n].options], found)
            every = every and good
            print(f"  {verdict(good)} {cases[n].title}: {figures}", flush=True)
    return every


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="a folder to empty and use")
    parser.add_argument("--python", required=True, help="a Python that has grokpack")
    args = parser.parse_args()
    return 0 if check(CASES, grok1(args.source), args.python, args.source, args.work) else 1


if __name__ == "__main__":
    sys.exit(main())
