"""Cut goldens with grokpack, let xAI's own code load the outputs, compare the logits.

    python -m tests.oracle.jax.check --xai CLONE --python PINNED/bin/python --newer FOLDER \
        --work FOLDER

`make oracle-jax XAI=CLONE` prepares what this needs. Exit status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grokpack.formats import pickle
from grokpack.storage import FileBytes
from tests.oracle.jax.goldens import EXACT, NOISE, WRONG, Golden
from tests.oracle.jax.requantized import Case, check_requantized, logits

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ROUNDED = 0.15  # median over rows: one rounding of row-parallel weights to bf16
PATIENCE_S = 3600  # a step takes a minute alone, and much longer where others work too

_OPTIONS = argparse.ArgumentParser(description=__doc__)
_OPTIONS.add_argument("--xai", required=True, help="clone of github.com/xai-org/grok-1")
_OPTIONS.add_argument("--python", required=True, help="interpreter of the pinned environment")
_OPTIONS.add_argument("--newer", required=True, help="folder with a newer ml_dtypes")
_OPTIONS.add_argument("--work", required=True, help="folder for outputs; emptied first")


class Check:
    """Runs the programs, collects the verdicts."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work = Path(options.work)
        self.failed = 0

    def reshard(self, source: Path, name: str, tp: int, *more: str, to: str = "ckpt-0") -> Path:
        """The output of one `grokpack reshard`."""
        return self.write(name, "reshard", str(source), "--tp", str(tp), "--to", to, *more)

    def write(self, name: str, *arguments: str) -> Path:
        """The output of one command of grokpack."""
        out = self.work / name
        command = [sys.executable, "-m", "grokpack", *arguments, "-o", str(out), "-q"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        return out

    def start(self, golden: Golden, script: str, *arguments: object) -> subprocess.Popen[bytes]:
        """A script of this folder in the pinned environment."""
        command = [self.options.python, str(HERE / script), *map(str, arguments)]
        command += ["--xai", self.options.xai]
        environment = {**os.environ, "PYTHONPATH": self.options.newer if golden.newer else ""}
        return subprocess.Popen(command, env=environment)

    def logits_of(
        self, golden: Golden, folder: Path, width: int, mode: str, hosts: int = 1
    ) -> np.ndarray:
        """What xAI's code answers from `folder`; hosts are processes of their own."""
        out = self.work / "logits.npy"
        shared = self._arguments(golden, folder, width, mode, hosts)
        self._finish(
            self.start(golden, "logits.py", *shared, "--host", host, "--out", f"{out}.{host}.npy")
            for host in range(hosts)
        )
        return np.asarray(np.load(f"{out}.0.npy"))

    def restore(self, golden: Golden, folder: Path, width: int, hosts: int) -> list[Path]:
        """Dumps of what each of several real processes holds after xAI's `restore`."""
        shared = self._arguments(golden, folder, width, "stock", hosts)
        dumps = [self.work / f"host{host}.npz" for host in range(hosts)]
        self._finish(
            self.start(golden, "logits.py", *shared, "--host", host, "--shards", dump)
            for host, dump in enumerate(dumps)
        )
        return dumps

    @staticmethod
    def _arguments(
        golden: Golden, folder: Path, width: int, mode: str, hosts: int
    ) -> tuple[object, ...]:
        tokens, lengths = golden.folder / "tokens.npy", ",".join(map(str, golden.lengths))
        return (
            *(folder, "--width", width, "--mode", mode, "--hosts", hosts),
            *("--port", _free_port(), "--tokens", tokens, "--lengths", lengths),
        )

    @staticmethod
    def _finish(processes: Iterable[subprocess.Popen[bytes]]) -> None:
        for process in list(processes):  # all are started before the first is waited for
            if process.wait(PATIENCE_S):
                message = f"failed: {process.args}"
                raise SystemExit(message)

    def judge(self, what: str, figures: str, *, right: bool) -> None:
        """Print one line of the table."""
        self.failed += not right
        print(f"{'ok  ' if right else 'FAIL'}  {what:<52} {figures}", flush=True)

    def compare(
        self, golden: Golden, name: str, width: int, mode: str, limit: float, hosts: int = 1
    ) -> np.ndarray:
        """Compare the logits of an output with the golden's; gives those of the output."""
        found = self.logits_of(golden, self.work / name, width, mode, hosts)
        devices = f"{width} devices" + (f", {hosts} processes" if hosts > 1 else "")
        what = f"{name}: {mode}, {devices}"
        self.judge_logits(golden, what, found, golden.logits(mode), limit)
        return found

    def judge_logits(
        self, golden: Golden, what: str, found: np.ndarray, wanted: np.ndarray, limit: float
    ) -> None:
        """Compare logits; the exact limit is for the largest change, others for the median."""
        median, largest = golden.difference(found, wanted)
        right = (largest if limit == EXACT else median) <= limit
        figures = f"median {median:.1e}  max {largest:.1e}  limit {limit:g}"
        self.judge(what, figures, right=right)

    def must_differ(self, golden: Golden, name: str, width: int) -> None:
        """A wrong checkpoint must be seen."""
        found = self.logits_of(golden, self.work / name, width, "exact")
        median, _ = golden.difference(found, golden.logits("exact"))
        self.judge(f"{name}: seen to be wrong", f"median {median:.1e}", right=median > WRONG)

    def same_files(self, first: Path, second: Path, what: str) -> None:
        """Both folders hold the same pickles, byte for byte."""
        files = [
            {p.name: p.read_bytes() for p in (folder / "ckpt-0").glob("tensor*")}
            for folder in (first, second)
        ]
        self.judge(what, f"{len(files[0])} files to the byte", right=files[0] == files[1])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def check_widths(check: Check, golden: Golden, noisy: bool) -> None:
    """Every width loads and gives the golden's logits."""
    for width in golden.widths:
        name = f"{golden.folder.name}-{width}"
        check.reshard(golden.folder, name, width)
        check.compare(golden, name, width, "exact", EXACT)
        if noisy:
            check.compare(golden, name, width, "stock", NOISE)


def check_returns(check: Check, golden: Golden) -> None:
    """safetensors of each width merge to the original, and so does a long chain."""
    name, last = golden.folder.name, golden.widths[-1]
    for width in golden.widths:
        there = check.reshard(golden.folder, f"{name}-st{width}", width, to="safetensors")
        back = check.reshard(there, f"{name}-st{width}-back", last)
        check.same_files(golden.folder, back, f"{name}: safetensors at {width} and back")
    here = golden.folder
    for step, width in enumerate((*golden.widths[::-1], *golden.widths[1:])):
        here = check.reshard(here, f"{name}-chain{step}", width)
    check.same_files(golden.folder, here, f"{name}: down to one and up again")


def check_scales(check: Check, golden: Golden) -> None:
    """Other forms of the row-parallel scales load; one of them is exact, one rounds once.

    What that rounds is seen by numpy too, which has the rounded weights.
    """
    name = golden.folder.name
    for width in (2, 8):
        rounded = f"{name}-bf16-{width}"
        out = check.reshard(golden.folder, rounded, width, "--scales", "bf16-weights")
        found = check.compare(golden, rounded, width, "exact", ROUNDED)
        what = f"{rounded}: by numpy, {width} devices"
        check.judge_logits(golden, what, found, logits(golden, out), EXACT)
    check.compare(golden, f"{name}-bf16-8", 8, "stock", NOISE)
    check.reshard(golden.folder, f"{name}-expanded-8", 8, "--scales", "expanded")
    check.compare(golden, f"{name}-expanded-8", 8, "exact", EXACT)
    check.compare(golden, f"{name}-expanded-8", 8, "stock", NOISE)


def check_hosts(check: Check, golden: Golden) -> None:
    """Each host's files are the slices of jax's sharding; real processes restore and answer."""
    name = golden.folder.name
    for width, hosts in ((8, 2), (8, 8), (4, 2), (2, 2)):
        out = check.reshard(
            golden.folder, f"{name}-{width}-by-{hosts}", width, "--hosts", str(hosts)
        )
        dumps = check.restore(golden, out, width, hosts) if hosts == 2 else []
        command = [check.work / f"{name}-{width}", out, "--width", width, "--hosts", hosts]
        process = check.start(golden, "shards.py", *command, "--dumps", *dumps)
        what = "restored blocks" if dumps else "files"
        right = process.wait(PATIENCE_S) == 0
        check.judge(f"{name}: {what} of {hosts} hosts, {width} devices", "", right=right)
    check.compare(golden, f"{name}-2-by-2", 2, "exact", EXACT, hosts=2)


def check_controls(check: Check, golden: Golden) -> None:
    """Two layers swapped, scale groups reversed: the comparison above must see it."""
    name = golden.folder.name
    swapped, reversed_ = check.work / f"{name}-swapped", check.work / f"{name}-reversed"
    for copy in (swapped, reversed_):
        shutil.copytree(check.work / f"{name}-8", copy)
    for slot in range(12):
        first, second = (swapped / f"ckpt-0/tensor{2 + 12 * n + slot:05d}_000" for n in (0, 1))
        one, other = first.read_bytes(), second.read_bytes()
        first.write_bytes(other)
        second.write_bytes(one)
    path = reversed_ / "ckpt-0/tensor00003_000"  # experts, down
    pickled, data = pickle.read(FileBytes(str(path)), str(path)), bytearray(path.read_bytes())
    scales = pickled.scales
    if scales is None:
        raise SystemExit("the experts have no scales")
    view = np.frombuffer(data, "<u2", scales.spec.nbytes // 2, scales.offset)
    view = view.reshape(scales.spec.shape)
    view[:] = view[:, ::-1].copy()
    path.write_bytes(data)
    check.must_differ(golden, swapped.name, 8)
    check.must_differ(golden, reversed_.name, 8)


def check_quantized(check: Check, tiny3: Golden, gqa12: Golden) -> None:
    """int8 again in other groups, from pickles and from bf16 in safetensors; attention kept."""
    two = Case("tiny3-int8-2", tiny3.folder, tiny3.folder, 2)
    eight = Case("tiny3-int8-2-8", check.work / two.name, check.work / two.name, 8)
    check_requantized(check, tiny3, two, stock=True)
    check_requantized(check, tiny3, eight)
    hf = check.write("gqa12-hf", "convert", str(gqa12.folder), "--to", "hf")
    whole = Case("gqa12-hf-int8-8", hf, gqa12.folder, 8, rounded=True)
    kept = Case("gqa12-int8-4", gqa12.folder, gqa12.folder, 4, ("--keep", "attention"))
    check_requantized(check, gqa12, whole)
    check_requantized(check, gqa12, kept)


def main() -> int:
    """Run every check; 1 if one failed."""
    check = Check(_OPTIONS.parse_args())
    shutil.rmtree(check.work, ignore_errors=True)
    check.work.mkdir(parents=True)
    tiny3 = Golden(ROOT / "tests" / "data" / "tiny3", (1, 2, 4, 8), newer=True)
    gqa12 = Golden(check.work / "gqa12", (1, 2, 4, 8))
    kv4 = Golden(check.work / "kv4", (1, 2, 4))
    for golden in (tiny3, gqa12, kv4):
        if golden is not tiny3:
            make = check.start(
                golden, "make_golden.py", golden.folder, "--model", golden.folder.name
            )
            if make.wait(PATIENCE_S):
                raise SystemExit("xAI's code made no golden")
        check_returns(check, golden)
        check_widths(check, golden, noisy=golden is tiny3)
    check_scales(check, tiny3)
    check_quantized(check, tiny3, gqa12)
    check_hosts(check, gqa12)
    check_controls(check, gqa12)
    print(f"{check.failed} failed" if check.failed else "all agree")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
