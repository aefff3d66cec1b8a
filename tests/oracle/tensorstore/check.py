"""Let TensorStore alone read views by the specs that grokpack prints, and compare every byte.

Run it isolated, so that grokpack cannot be imported, in an environment of `requirements-*.txt`:
`python -I tests/oracle/tensorstore/check.py --python PYTHON_OF_GROKPACK --work FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import struct
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import ml_dtypes
import numpy as np
import tensorstore as ts

TINY = Path("tests/data/tiny3")
RELEASE = Path("tests/data/grok2-tiny/release")
CHUNKY = "--layers 1 --d-model 512 --ffn 1536 --experts 2 --vocab 1024 --heads 8 --kv-heads 4"
DTYPES = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "I8": np.int8}
LAYER_SLOTS = {  # xAI's parameter names, in the order of the files
    "moe/linear/w": 0,
    "moe/linear_1/w": 1,
    "moe/linear_v/w": 2,
    "multi_head_attention/key/w": 3,
    "multi_head_attention/linear/w": 4,
    "multi_head_attention/query/w": 5,
    "multi_head_attention/value/w": 6,
    "rms_norm/scale": 7,
    "rms_norm_1/scale": 8,
    "rms_norm_2/scale": 9,
    "rms_norm_3/scale": 10,
    "router/w": 11,
}


class _Weight:
    """Stands in for xAI's QuantizedWeight8bit."""


class _Loader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        return _Weight if name == "QuantizedWeight8bit" else super().find_class(module, name)


def unpickled(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of a ckpt-0 folder by xAI's names."""
    files = sorted(folder.glob("tensor*_000"))
    layers = sorted(range((len(files) - 2) // 12), key=str)
    names = ["language_model/in_out_embed/embeddings", "language_model/rms_norm/scale"]
    names += [f"transformer/decoder_layer_{n}/{slot}" for n in layers for slot in LAYER_SLOTS]
    arrays = {}
    for name, path in zip(names, files, strict=True):
        with path.open("rb") as handle:
            held = _Loader(handle).load()
        if isinstance(held, np.ndarray):
            arrays[name] = held
        else:
            arrays |= {name: held.weight, f"{name}/scales": held.scales}
    return arrays


def stored(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of a folder's safetensors files, file by file."""
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        for name, row in json.loads(data[8 : 8 + length]).items():
            if name != "__metadata__":
                low, high = (8 + length + at for at in row["data_offsets"])
                flat = np.frombuffer(data[low:high], DTYPES[row["dtype"]])
                yield name, flat.reshape(row["shape"])


def merged(release: Path) -> dict[str, np.ndarray]:
    """Arrays of a release of Grok-2, slices of ranks joined."""
    slices: dict[str, list[np.ndarray]] = {}
    for name, values in stored(release):
        slices.setdefault(name, []).append(values)
    return {
        name: np.concatenate(parts, axis=int(name.endswith("w2.weight")))
        for name, parts in slices.items()
    }


def grokpack(python: str, *arguments: str | Path) -> str:
    """Run a command of grokpack in its own environment."""
    command = [python, "-m", "grokpack", *map(str, arguments), "--progress", "none"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def spec_in(text: str) -> dict:
    """What a command printed to be pasted."""
    (line,) = (line for line in text.splitlines() if "tensorstore: " in line)
    return json.loads(line.partition("tensorstore: ")[2])


def names_in(spec: dict) -> list[str]:
    """Arrays of a store, by its keys."""
    store = ts.KvStore.open({**spec["kvstore"], "path": ""}).result()
    keys = [key.decode() for key in store.list().result()]
    metadata = [key for key in keys if key.endswith("zarr.json")]
    kinds = {key: json.loads(store.read(key).result().value)["node_type"] for key in metadata}
    return [key.removesuffix("/zarr.json") for key, kind in kinds.items() if kind == "array"]


def opened(spec: dict, name: str) -> ts.TensorStore:
    """An array by the printed spec with another path."""
    own = {**spec, "kvstore": {**spec["kvstore"], "path": f"{name}/"}}
    return ts.open(own, read=True).result()


def differences(spec: dict, wanted: dict[str, np.ndarray]) -> list[str]:
    """Arrays that TensorStore reads otherwise, or lists and there are none, or the reverse."""
    listed = names_in(spec)
    wrong = sorted({*listed} ^ {*wanted})
    for name in {*listed} & {*wanted}:
        array, values = opened(spec, name), wanted[name]
        found = array.read().result()
        box = tuple(slice(n // 3, max(n // 3 + 1, 2 * n // 3)) for n in values.shape)
        good = (
            found.dtype == values.dtype
            and found.shape == values.shape
            and found.tobytes() == values.tobytes()
            and array[box].read().result().tobytes() == values[box].tobytes()
        )
        wrong += [] if good else [name]
    return wrong


def raises(action: object) -> bool:
    """Whether TensorStore refuses."""
    try:
        action()
    except ValueError:
        return True
    return False


class Report:
    """Counts what went wrong."""

    def __init__(self) -> None:
        self.failed = 0

    def line(self, what: str, good: bool) -> None:
        """Print one line."""
        self.failed += not good
        print(f"{'ok' if good else 'FAILED':<7} {what}", flush=True)


def compare(report: Report, python: str, work: Path, source: Path) -> None:
    """Views of a checkpoint in three formats."""
    wanted = unpickled(source / "ckpt-0")
    spec = spec_in(grokpack(python, "convert", source, "--to", "view"))
    chunks = opened(spec, max(wanted, key=lambda n: wanted[n].nbytes)).chunk_layout.read_chunk
    report.line(f"{source.name}: {len(wanted)} arrays of pickles", not differences(spec, wanted))
    print(f"        chunks of the largest: {chunks.shape}")
    again = spec_in(grokpack(python, "inspect", source / "ckpt-0.view"))
    report.line("inspect prints the same spec", again == spec)

    ranks = work / f"{source.name}-tp4"
    grokpack(python, "reshard", source, "--tp", "4", "-o", ranks)
    spec = spec_in(grokpack(python, "convert", ranks, "--to", "view"))
    report.line(f"{source.name}: cut for 4 ranks", not differences(spec, wanted))

    hf = work / f"{source.name}-hf"
    grokpack(python, "convert", source, "--to", "hf", "-o", hf)
    spec = spec_in(grokpack(python, "convert", hf, "--to", "view"))
    held = dict(stored(hf))
    report.line(f"{source.name}: {len(held)} arrays of --to hf", not differences(spec, held))


def compare_release(report: Report, python: str, release: Path) -> None:
    """A view of the files of eight ranks."""
    spec = spec_in(grokpack(python, "convert", release, "--to", "view"))
    wanted = merged(release)
    report.line(f"Grok-2: {len(wanted)} arrays of eight ranks", not differences(spec, wanted))


def broken(report: Report, python: str, source: Path) -> None:
    """That changes are noticed: by the comparison, by TensorStore, or by nobody but grokpack."""
    spec = spec_in(grokpack(python, "inspect", source / "ckpt-0.view"))
    wanted, name = unpickled(source / "ckpt-0"), "transformer/decoder_layer_0/moe/linear/w"
    path = source / "ckpt-0" / "tensor00002_000"
    kept = path.read_bytes()

    path.write_bytes(kept[:1000] + bytes([kept[1000] ^ 1]) + kept[1001:])
    report.line("one byte changed: the comparison notices", differences(spec, wanted) == [name])
    report.line("  and TensorStore does not", not raises(opened(spec, name).read().result))
    path.write_bytes(kept[: len(kept) // 2])
    report.line("a file cut short: an error", raises(opened(spec, name).read().result))
    path.unlink()
    report.line("a file gone: an error", raises(opened(spec, name).read().result))
    path.write_bytes(kept)
    report.line("restored: all good", not differences(spec, wanted))

    kvstore = spec["kvstore"]
    above = {**kvstore, "base": kvstore["base"].rstrip("/").rpartition("/")[0] + "/"}
    wrong = {**spec, "kvstore": above}
    report.line("a wrong base: an error", raises(lambda: opened(wrong, name)))
    other = {**spec, "kvstore": {**kvstore, "manifest": kvstore["base"]}}
    report.line("a wrong manifest: no array opens", raises(lambda: opened(other, name)))
    report.line("  and the list of keys is empty, silently", names_in(other) == [])


def main() -> int:
    """Make, compare, break."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True)
    parser.add_argument("--work", type=Path, required=True)
    given = parser.parse_args()
    assert find_spec("grokpack") is None, "grokpack can be imported here: run Python with -I"
    work = given.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(TINY, work / "tiny 3 (50%)")  # a name that a URL has to escape
    grokpack(given.python, "synth", work / "chunky", *CHUNKY.split())
    print(f"TensorStore {version('tensorstore')}, numpy {np.__version__}, without grokpack")
    report = Report()
    for source in (work / "tiny 3 (50%)", work / "chunky"):
        compare(report, given.python, work, source)
    shutil.copytree(RELEASE, work / "grok-2")
    compare_release(report, given.python, work / "grok-2")
    broken(report, given.python, work / "chunky")
    shutil.rmtree(work)
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
