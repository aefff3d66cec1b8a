"""Views, as the commands print them and as TensorStore reads them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorstore as ts
from typer.testing import CliRunner, Result

from grokpack.cli.app import app

if TYPE_CHECKING:
    import numpy as np

GATE = "transformer/decoder_layer_0/moe/linear/w"
SMALL_CHUNKS = 4096  # bytes; so that small arrays have many chunks


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--progress", "none"])


def printed_spec(folder: Path) -> dict[str, Any]:
    """What `inspect` prints to be pasted."""
    text = run("inspect", folder).stdout
    (line,) = (line for line in text.splitlines() if "open it  tensorstore: " in line)
    spec: dict[str, Any] = json.loads(line.partition("tensorstore: ")[2])
    return spec


def read_all(spec: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every array below the spec's store, by TensorStore alone."""
    kvstore = {**spec["kvstore"], "path": ""}
    keys = [key.decode() for key in ts.KvStore.open(kvstore).result().list().result()]
    found = {}
    for key in keys:
        name = key.removesuffix("zarr.json")
        if name == key or json.loads(value(kvstore, key))["node_type"] != "array":
            continue
        one = {"driver": "zarr3", "kvstore": {**kvstore, "path": name}}
        found[name.rstrip("/")] = ts.open(one, read=True).result().read().result()
    return found


def value(kvstore: dict[str, Any], key: str) -> bytes:
    value: bytes = ts.KvStore.open(kvstore).result()[key]
    return value


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype, name
        assert found[name].shape == values.shape, name
        assert found[name].tobytes() == values.tobytes(), name


def contents(path: Path) -> tuple[int, bytes]:
    return path.stat().st_mtime_ns, path.read_bytes()


def later(path: Path) -> None:
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
