"""Orbax restores what `convert --to orbax` wrote, on a mesh too; grokpack reads what Orbax wrote.

Runs without grokpack installed: the pickles are read by `tests.oracle.forward`, and grokpack is a
program that is given by its path.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.oracle.forward import files, find_config, stored

Tree = dict[str, dict[str, Any]]


class QuantizedWeight8bit:
    """As in xAI's model.py: a pytree node of two leaves, whose keys have no names."""

    def __init__(self, weight: Any, scales: Any) -> None:
        self.weight, self.scales = weight, scales


jax.tree_util.register_pytree_node(
    QuantizedWeight8bit,
    lambda node: ([node.weight, node.scales], ()),
    lambda _, leaves: QuantizedWeight8bit(*leaves),
)


def params(source: Path) -> Tree:
    """xAI's pytree of parameters, from the pickles."""
    folder = source / "ckpt-0" if (source / "ckpt-0").is_dir() else source
    tree: Tree = {}
    bfloat16 = np.dtype(ml_dtypes.bfloat16)
    state = bfloat16.__reduce__()[2]
    for name, path in files(folder, find_config(folder)["num_layers"]).items():
        module, _, parameter = name.rpartition("/")
        values, scales = stored(path)
        leaf = values if scales is None else QuantizedWeight8bit(values, scales)
        tree.setdefault(module, {})[parameter] = leaf
    # unpickling gave the one dtype that there is the flags of an older ml_dtypes, by which jax
    # does not know it any more
    bfloat16.__setstate__(state)
    return tree


def dequantized(tree: Tree) -> Tree:
    """The same as bfloat16: a product in float32, rounded once; router and norms as they are."""

    def bf16(node: QuantizedWeight8bit) -> np.ndarray:
        weight, scales = (np.asarray(a, np.float32) for a in (node.weight, node.scales))
        rows = weight.shape[-2] // scales.shape[-2]
        return (weight * np.repeat(scales, rows, axis=-2)).astype(ml_dtypes.bfloat16)

    def leaf(parameter: str, node: Any) -> Any:
        if isinstance(node, QuantizedWeight8bit):
            return bf16(node)
        return node.astype(ml_dtypes.bfloat16) if parameter == "embeddings" else node

    return {m: {p: leaf(p, node) for p, node in own.items()} for m, own in tree.items()}


def specs(tree: Tree, mesh: Mesh) -> Tree:
    """What to restore, and how it is to lie on the mesh, by xAI's partition rules in short."""

    def spec(path: tuple[Any, ...], leaf: np.ndarray) -> jax.ShapeDtypeStruct:
        name = jax.tree_util.keystr(path)
        axes: list[str | None] = [None] * leaf.ndim
        if leaf.ndim > 1 and "router" not in name:
            axes[-2 if "linear_1" in name or "attention/linear" in name else -1] = "model"
        if any(a and n % mesh.shape[a] for a, n in zip(axes, leaf.shape, strict=True)):
            axes = [None] * leaf.ndim
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree_util.tree_map_with_path(spec, tree)


def compare(found: Any, wanted: Any, what: str) -> int:
    """See that leaves agree in dtype, shape and every bit; tells how many there are."""
    got, expected = jax.tree.leaves(found), jax.tree.leaves(wanted)
    assert len(got) == len(expected), f"{what}: {len(got)} leaves of {len(expected)}"
    for one, other in zip(got, expected, strict=True):
        one, other = np.asarray(one), np.asarray(other)  # noqa: PLW2901
        assert (one.dtype, one.shape) == (other.dtype, other.shape), what
        assert one.tobytes() == other.tobytes(), what
    return len(got)


def check_restored(out: Path, wanted: Tree) -> None:
    """Restore a checkpoint in every way that there is, and compare."""
    with ocp.StandardCheckpointer() as checkpointer:
        leaves = compare(checkpointer.restore(out), wanted, "restore, without a tree")
        for shape in ((1, 8), (2, 4), (8, 1)):
            mesh = Mesh(np.array(jax.devices()).reshape(shape), ("data", "model"))
            asked = specs(wanted, mesh)
            found = checkpointer.restore(out, asked)
            compare(found, wanted, f"restore on a mesh of {shape}")
            one, two = jax.tree.leaves(found), jax.tree.leaves(asked)
            assert all(a.sharding == b.sharding for a, b in zip(one, two, strict=True))
            assert jax.tree.structure(found) == jax.tree.structure(wanted)
    with ocp.PyTreeCheckpointer() as checkpointer:
        compare(checkpointer.restore(out), wanted, "PyTreeCheckpointer")
    print(f"{out.name}: {leaves} leaves restored, without a tree, and on meshes of 8 devices")


def check_damage(out: Path) -> None:
    """See that a flipped bit is noticed, so that a restore without one means something."""
    shard = out / "transformer/decoder_layer_0/moe/linear.w.0/c/0/0/0"
    whole = shard.read_bytes()
    shard.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    restore = f"import orbax.checkpoint as o; o.StandardCheckpointer().restore({str(out)!r})"
    run = subprocess.run(
        [sys.executable, "-c", restore], capture_output=True, text=True, check=False
    )
    shard.write_bytes(whole)
    assert run.returncode, "a flipped bit was not noticed"
    assert "igest" in run.stderr, run.stderr[-1000:]
    print("a flipped bit is noticed")


def check_guide(grokpack: list[str], work: Path) -> None:
    """Run the Python of the guide, as it stands there."""
    subprocess.run([*grokpack, "synth", work / "tiny", "--quiet"], check=True)
    convert = [*grokpack, "convert", work / "tiny", "--to", "orbax", "-o", work / "tiny-orbax"]
    subprocess.run([*convert, "--quiet"], check=True)
    guide = Path(__file__).parents[3] / "docs" / "how-to" / "convert-to-orbax.md"
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=work, check=True)
    print(f"{guide.name}: {len(blocks)} blocks run")


def save(place: Path, tree: Any, **options: Any) -> Path:
    """Let Orbax write a checkpoint."""
    if options:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)) as checkpointer:
            checkpointer.save(place, args=ocp.args.PyTreeSave(tree))
    else:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(place, tree)
    return place


def managed(place: Path, tree: Any) -> Path:
    """Let a checkpoint manager write step 0, sharded over the devices."""
    mesh = Mesh(np.array(jax.devices()).reshape(1, 8), ("data", "model"))
    shardings = jax.tree.map(lambda s: s.sharding, specs(tree, mesh))
    with ocp.CheckpointManager(place) as manager:
        manager.save(0, args=ocp.args.StandardSave(jax.device_put(tree, shardings)))
    return place / "0"


def named(tree: Tree) -> Any:
    """The same with names for the leaves of a weight."""

    def leaf(node: Any) -> Any:
        ours = isinstance(node, QuantizedWeight8bit)
        return {"weight": node.weight, "scales": node.scales} if ours else node

    return {"params": {m: {p: leaf(n) for p, n in own.items()} for m, own in tree.items()}}


def check_read(grokpack: list[str], source: Path, work: Path) -> None:
    """Let Orbax write checkpoints, and see that grokpack makes the same pickles of them."""
    tree = params(source)
    written = {
        "OCDBT": save(work / "ocdbt", tree),
        "zarr 2 folders": save(work / "folders", tree, use_ocdbt=False),
        "zarr 3 folders": save(work / "folders 3", tree, use_ocdbt=False, use_zarr3=True),
        "named leaves": save(work / "named", named(tree)),
        "a manager's step, sharded": managed(work / "manager", tree),
    }
    for name, place in written.items():
        again = work / f"from {name}"
        head = str(find_config(source)["key_size"])
        run = [*grokpack, "convert", place, "--head-dim", head, "--to", "ckpt-0", "-o", again]
        subprocess.run([*run, "--quiet"], check=True)
        same_pickles(source, again)
        print(f"{name}: grokpack makes the same pickles of what Orbax wrote")


def same_pickles(source: Path, again: Path) -> None:
    """Compare the pickles of two checkpoints, byte for byte."""
    paths = sorted((source / "ckpt-0").glob("tensor*"))
    assert paths, source
    for path in paths:
        assert path.read_bytes() == (again / "ckpt-0" / path.name).read_bytes(), path.name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grokpack", required=True, help="the Python that has it")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fixture", type=Path, help="only let Orbax write the source there")
    parser.add_argument("source", type=Path, nargs="+")
    given = parser.parse_args()
    grokpack = [given.grokpack, "-m", "grokpack"]
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    work = given.work.resolve()
    if given.fixture:
        shutil.rmtree(given.fixture, ignore_errors=True)
        place = save(given.fixture.resolve(), params(given.source[0]))
        (place / "commit_success.txt").unlink(missing_ok=True)  # it names a place of this machine
        return
    print(f"orbax-checkpoint {ocp.__version__}, jax {jax.__version__}")
    for number, source in enumerate(given.source):
        tree = params(source)
        small = dequantized(tree)
        for options, wanted in (("", tree), ("--compress zstd", tree), ("--dtype bf16", small)):
            out = work / f"{number} {options or 'as stored'}"
            run = [*grokpack, "convert", source, "--to", "orbax", "-o", out, "--quiet"]
            subprocess.run([*run, *options.split()], check=True)
            check_restored(out, wanted)
            if not options:
                check_damage(out)
                again = work / f"again {number}"
                run = [*grokpack, "convert", out, "--to", "ckpt-0", "-o", again, "--quiet"]
                subprocess.run(run, check=True)
                same_pickles(source, again)
                print(f"{source}: back to the same pickles")
    check_read(grokpack, given.source[-1], work)
    check_guide(grokpack, work)


if __name__ == "__main__":
    sys.exit(main())
