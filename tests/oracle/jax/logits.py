"""Load a folder with `ckpt-0` by xAI's own `restore`, and write the logits of some prompts.

    python logits.py FOLDER --xai CLONE --width 8 --tokens tokens.npy --lengths 64,37 --out X.npy

With `--hosts N` this is one process of several, each reading `tensorNNNNN_HHH` of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

_OPTIONS = argparse.ArgumentParser(description=__doc__)
_OPTIONS.add_argument("folder", help="holds ckpt-0 and config.json")
_OPTIONS.add_argument("--xai", required=True, help="clone of github.com/xai-org/grok-1")
_OPTIONS.add_argument("--width", type=int, default=8, help="devices on the model axis")
_OPTIONS.add_argument("--mode", default="stock", help="stock, f32 or exact; see reference.py")
_OPTIONS.add_argument("--tokens", required=True, help="int32 [prompts, T], padded on the right")
_OPTIONS.add_argument("--lengths", required=True, help="of the prompts, separated by commas")
_OPTIONS.add_argument("--out", help="float32 [prompts, T, vocab]; without it, only restore")
_OPTIONS.add_argument("--hosts", type=int, default=1)
_OPTIONS.add_argument("--host", type=int, default=0)
_OPTIONS.add_argument("--port", type=int, default=0, help="of the coordinator")
_OPTIONS.add_argument("--shards", help="also write what each of this host's devices holds, .npz")


def set_devices(count: int) -> None:
    """Make XLA show so many CPU devices; before jax is imported."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"


def _join(options: argparse.Namespace) -> None:
    import jax

    jax.config.update("jax_cpu_enable_gloo_collectives", True)
    place = f"127.0.0.1:{options.port}"
    jax.distributed.initialize(place, options.hosts, options.host)


def _write_shards(params: Any, path: str) -> None:
    """The devices' blocks as `name|device` -> bytes; bf16 as uint16, which .npz can hold."""
    import jax
    import numpy as np

    blocks = {}
    for keys, array in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = jax.tree_util.keystr(keys)
        for shard in array.addressable_shards:
            block = np.asarray(shard.data)
            blocks[f"{name}|{shard.device.id}"] = block.view(f"u{block.dtype.itemsize}")
    np.savez(path, **blocks)


def main() -> None:
    """Load, run each prompt unpadded, write."""
    options = _OPTIONS.parse_args()
    set_devices(options.width // options.hosts)
    if options.hosts > 1:
        _join(options)
    import numpy as np
    import reference

    runners = reference.load(options.xai, options.mode)
    values = json.loads(Path(options.folder, "config.json").read_text(encoding="utf-8"))
    runner = reference.make_runner(runners, values, options.folder, options.width, options.hosts)
    apply = reference.forward(runner, options.mode)
    params = runner.load_or_init(reference.dummy_data())
    if options.shards:
        _write_shards(params, options.shards)
    if not options.out:
        return
    tokens = np.load(options.tokens)
    found = np.zeros((*tokens.shape, values["vocab_size"]), np.float32)
    with runner.mesh:
        for row, length in enumerate(map(int, options.lengths.split(","))):
            found[row, :length] = apply(params, tokens[row : row + 1, :length])
    np.save(options.out, found)


if __name__ == "__main__":
    sys.exit(main())
