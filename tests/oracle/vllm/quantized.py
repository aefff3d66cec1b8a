"""Folders that `grokpack quantize` writes in vLLM 0.24, against the network in numpy.

python -m tests.oracle.vllm.quantized SOURCE --python PYTHON_OF_GROKPACK --work FOLDER: SOURCE is a
ckpt-0 checkpoint. The build for CPU lacks kernels for most of them: see standin.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.oracle import forward
from tests.oracle.ct.folders import Folder, grokpack
from tests.oracle.vllm.check import (
    LIMIT,
    LIMIT_BF16,
    Array,
    in_vllm,
    log_softmax,
    network,
    prompts,
    verdict,
)

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


CASES = [
    Case("--bits 4 --keep experts", stand_in=False),
    Case(f"{GPTQ_4} --keep experts", stand_in=False),
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


def make(python: str, source: Path, work: Path) -> list[Path]:
    """The folder of each case."""
    policy = work / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    places = {case.options: work / f"folder-{number}" for number, case in enumerate(CASES)}
    commands = [
        ["quantize", str(source), *options.replace("POLICY", str(policy)).split(), "-o", str(out)]
        for options, out in places.items()
    ]
    grokpack(python, commands)
    return [
        spoil(places[case.options], case.broken, work / f"spoilt-{number}")
        if case.broken
        else places[case.options]
        for number, case in enumerate(CASES)
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


def run_all(numbers: list[int], folders: list[Path], source: Path, work: Path) -> None:
    """vLLM on the folders of some cases, one after the other, in a process of its own."""
    given = json.dumps({number: str(folders[number]) for number in numbers})
    stand_in = ["--stand-in"] if CASES[numbers[0]].stand_in else []
    command = [sys.executable, "-m", __spec__.name, str(source), "--work", str(work)]
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    with (work / f"said-{numbers[0]}.txt").open("w") as said:
        subprocess.run(
            [*command, "--run", given, *stand_in],
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            check=True,
        )


def run_here(given: dict[str, str], vocab: int, work: Path, *, stand_in: bool) -> None:
    """What vLLM computes of each folder as `NUMBER.npy`, or where it failed as `NUMBER.txt`."""
    from vllm.distributed import cleanup_dist_env_and_memory

    if stand_in:
        from tests.oracle.vllm import standin

        standin.use()
    dtype = "float32" if stand_in else "bfloat16"
    for number, folder in given.items():
        try:
            np.save(work / f"{number}.npy", in_vllm(Path(folder), dtype, prompts(vocab), vocab))
        except Exception:  # noqa: BLE001  # whatever it is, it is what vLLM says
            (work / f"{number}.txt").write_text(traceback.format_exc(), encoding="utf-8")
        cleanup_dist_env_and_memory()


class Network:
    """The network in numpy, with the weights as released and as decoded."""

    def __init__(self, source: Path) -> None:
        self.source = source
        weights, self.config = forward.load(source)
        self.ids = prompts(self.config["vocab_size"])
        self.released = log_softmax(self._logits(weights))

    def _logits(self, weights: forward.Weights) -> Array:
        kept: dict[str, Array] = {}

        def weight(name: str) -> Array:
            return kept[name] if name in kept else kept.setdefault(name, weights(name))

        return network(weight, self.config, self.ids, as_vllm=True)

    def compare(self, case: Case, found: Array, folder: Path) -> tuple[bool, str]:
        """Whether vLLM's log probabilities are those of the decoded weights, and the figures."""
        logits = self._logits(Folder(folder, self.source).weights())
        rows = np.abs(found - log_softmax(logits)).max(axis=-1)
        spread = float(logits.std())
        lost = float(np.median(np.abs(found - self.released).max(axis=-1))) / spread
        share = float(np.median(rows)) / spread
        figures = f"at most {rows.max():.1e}" if case.stand_in else f"median {share:.3f}"
        good = bool(rows.max() < LIMIT) if case.stand_in else share < LIMIT_BF16
        return good, f"{figures}; from the released weights {lost:.2f} of the spread"


def judge(number: int, folders: list[Path], reference: Network, work: Path) -> tuple[bool, str]:
    """Whether vLLM made of a folder what it must, and the figures or its words."""
    case, failed = CASES[number], work / f"{number}.txt"
    if failed.exists():
        words = failed.read_text(encoding="utf-8")
        if case.refused is not None:
            return case.refused in words, f"refused: {case.refused}"
        return False, words[-2000:]
    if case.refused is not None:
        return False, "loaded"
    whole = next(n for n, c in enumerate(CASES) if c.options == case.options and not c.broken)
    found = np.load(work / f"{number}.npy")
    good, figures = reference.compare(case, found, folders[whole])
    return good != bool(case.broken), figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="a folder to empty and use")
    parser.add_argument("--python", help="a Python that has grokpack")
    parser.add_argument("--run", type=json.loads, help="only run vLLM on these folders")
    parser.add_argument("--stand-in", action="store_true", help="with the kernels of standin.py")
    args = parser.parse_args()
    if args.run:
        vocab = forward.load(args.source)[1]["vocab_size"]
        run_here(args.run, vocab, args.work, stand_in=args.stand_in)
        return 0
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    folders = make(args.python, args.source, args.work)
    reference, failed = Network(args.source), 0
    for title, stand_in in (("vLLM's own kernels, bfloat16", False), ("stand-ins, float32", True)):
        print(f"quantized, {title}", flush=True)
        numbers = [n for n, case in enumerate(CASES) if case.stand_in == stand_in]
        run_all(numbers, folders, args.source, args.work)
        for number in numbers:
            good, figures = judge(number, folders, reference, args.work)
            failed += not good
            print(f"  {verdict(good)} {CASES[number].title}: {figures}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
