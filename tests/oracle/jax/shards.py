"""Compare the files of several hosts with the slices that jax itself gives those hosts.

    python shards.py WHOLE HOSTED --xai CLONE --width 8 --hosts 2 [--dumps A.npz B.npz]

WHOLE and HOSTED hold one checkpoint at one width, for one host and for several. What each device
holds is asked of `NamedSharding` over xAI's mesh and partition rules; a host's file must be the box
that its devices' slices span. Dumps are what real processes held after xAI's `restore`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import logits

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPTIONS = argparse.ArgumentParser(description=__doc__)
_OPTIONS.add_argument("whole")
_OPTIONS.add_argument("hosted")
_OPTIONS.add_argument("--xai", required=True)
_OPTIONS.add_argument("--width", type=int, required=True)
_OPTIONS.add_argument("--hosts", type=int, required=True)
_OPTIONS.add_argument("--dumps", nargs="*", default=[])


def _specs(runner: Any) -> Iterator[tuple[str, Any]]:
    """Names and partition specs of xAI's parameters, in the order of the files."""
    import jax
    from jax.sharding import PartitionSpec

    leaves = jax.tree_util.tree_flatten_with_path(
        runner.state_sharding.params,
        is_leaf=lambda leaf: leaf is None or isinstance(leaf, PartitionSpec),
    )[0]
    for path, spec in leaves:
        yield jax.tree_util.keystr(path), PartitionSpec() if spec is None else spec


def _parts(value: Any) -> list[tuple[str, Any]]:
    """The arrays in a pickle, with the suffix jax gives their place in the tree."""
    if hasattr(value, "scales"):
        return [("[<flat index 0>]", value.weight), ("[<flat index 1>]", value.scales)]
    return [("", value)]


def _bits(array: Any) -> Any:
    return array.view(f"u{array.dtype.itemsize}")


def _span(slices: list[tuple[slice, ...]], shape: tuple[int, ...]) -> tuple[slice, ...]:
    ranges = [[s.indices(n) for s, n in zip(index, shape, strict=True)] for index in slices]
    return tuple(
        slice(min(r[axis][0] for r in ranges), max(r[axis][1] for r in ranges))
        for axis in range(len(shape))
    )


def _blocks(dump: Any, name: str) -> list[Any]:
    """One host's blocks of a parameter, in the order of its devices."""
    keys = [key for key in dump.files if key.rpartition("|")[0] == name]
    return [dump[key] for key in sorted(keys, key=lambda key: int(key.rpartition("|")[2]))]


def _same(first: Any, second: Any) -> bool:
    return first.shape == second.shape and bool((_bits(first) == _bits(second)).all())


def _compare(
    name: str, whole: Any, shares: list[Any], slices: list[Any], dumps: list[Any]
) -> list[str]:
    """What is wrong with an array's share on each host, and with its block on each device."""
    each, wrong = len(slices) // len(shares), []
    for host, share in enumerate(shares):
        mine = slices[host * each : (host + 1) * each]
        if not _same(whole[_span(mine, whole.shape)], share):
            wrong.append(f"share of host {host}: {name}")
        if dumps:
            expected = [whole[place] for place in mine]
            blocks = _blocks(dumps[host], name)
            if len(blocks) != each or not all(map(_same, expected, blocks)):
                wrong.append(f"blocks of host {host}: {name}")
    return wrong


def main() -> int:
    """Compare every file and every device's block; print what differs."""
    options = _OPTIONS.parse_args()
    logits.set_devices(options.width)
    import numpy as np
    import reference
    from jax.sharding import NamedSharding

    runners = reference.load(options.xai, "stock")
    from checkpoint import fast_unpickle

    values = json.loads(Path(options.whole, "config.json").read_text(encoding="utf-8"))
    runner = reference.make_runner(runners, values, options.whole, options.width)
    devices = list(runner.mesh.devices.flat)  # those of host 0 come first
    dumps = [np.load(path) for path in options.dumps]
    arrays, wrong = 0, []
    for index, (name, spec) in enumerate(_specs(runner)):
        file = f"ckpt-0/tensor{index:05d}"
        hosted = [
            _parts(fast_unpickle(f"{options.hosted}/{file}_{host:03d}"))
            for host in range(options.hosts)
        ]
        for part, (suffix, whole) in enumerate(
            _parts(fast_unpickle(f"{options.whole}/{file}_000"))
        ):
            where = NamedSharding(runner.mesh, spec).devices_indices_map(whole.shape)
            slices = [where[device] for device in devices]
            shares = [host[part][1] for host in hosted]
            wrong += _compare(name + suffix, whole, shares, slices, dumps)
            arrays += 1
    sys.stdout.write("".join(f"{line}\n" for line in wrong[:5]))
    sys.stdout.write(f"{arrays} arrays on {options.hosts} hosts, {len(wrong)} wrong\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
