"""TensorStore and zarr-python open what `convert --to zarr` wrote; grokpack reads what they wrote.

Runs without grokpack installed: the pickles are read by `tests.oracle.forward`, and grokpack is a
program that is given by its path.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import tensorstore as ts
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.storage import LocalStore, StorePath

from tests.oracle import forward_grok2
from tests.oracle.forward import files, find_config, stored

Array = np.ndarray


def leaves(source: Path) -> Iterator[tuple[str, Array]]:
    """Every array of a checkpoint by its path in a store: values, and scales beside them."""
    folder = source / "ckpt-0" if (source / "ckpt-0").is_dir() else source
    for name, path in files(folder, find_config(folder)["num_layers"]).items():
        values, scales = stored(path)
        yield name, np.asarray(values)
        if scales is not None:
            yield f"{name}_scales", np.asarray(scales)


def merged(release: Path) -> Iterator[tuple[str, Array]]:
    """Every array of a release of Grok-2 by its name, slices of ranks joined."""
    weights, _ = forward_grok2.load(release)
    stored = (forward_grok2.arrays(path) for path in release.glob("*.safetensors"))
    for name in sorted({name for rows in stored for name, _ in rows}):
        yield name, weights(name).astype(ml_dtypes.bfloat16)


def by_tensorstore(folder: Path) -> Array:
    """An array, by TensorStore; a chunk that is missing would be an error."""
    spec = {"driver": "zarr3", "kvstore": f"file://{folder}/", "fill_missing_data_reads": False}
    return ts.open(spec, read=True, open=True).result().read().result()


def by_zarr_python(root: Path, path: str) -> Array:
    """The same by zarr-python; it has no bfloat16, whose bits are read as uint16."""
    folder = root / path
    document = json.loads((folder / "zarr.json").read_text())
    if document["data_type"] != "bfloat16":
        return zarr.open_group(root, mode="r")[path][...]
    document |= {"data_type": "uint16", "fill_value": 0}
    array = zarr.Array.from_dict(StorePath(LocalStore(folder)), document)
    return array[...].view(ml_dtypes.bfloat16)


def same(found: Array, wanted: Array) -> bool:
    """Whether dtype, shape and every bit agree."""
    alike = (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    return alike and found.tobytes() == wanted.tobytes()


def check_written(source: Path, out: Path, arrays: Iterator[tuple[str, Array]]) -> None:
    """Compare every value of a store with what it was made of."""
    count = 0
    for path, wanted in arrays:
        assert same(by_tensorstore(out / path), wanted), f"TensorStore: {path}"
        assert same(by_zarr_python(out, path), wanted), f"zarr-python: {path}"
        count += 1
    print(f"{source}: {count} arrays, each value the same in TensorStore and zarr-python")


def check_damage(out: Path) -> None:
    """See that a flipped bit is noticed by both."""
    path = "transformer/decoder_layer_0/moe/linear/w"
    shard = out / path / "c" / "0" / "0" / "0"
    whole = shard.read_bytes()
    shard.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    noticed = 0
    for read in (lambda: by_tensorstore(out / path), lambda: by_zarr_python(out, path)):
        try:
            read()
        except ValueError as error:
            noticed += any(word in str(error) for word in ("igest", "hecksum"))
    shard.write_bytes(whole)
    assert noticed == 2, "a flipped bit was not noticed"
    print("a flipped bit is noticed by both")


def chunked(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks that divide nothing in particular."""
    return tuple(max(1, min(n, 7 * n // 16)) for n in shape)


def write_python(root: Path, path: str, values: Array, how: int) -> None:
    """An array by zarr-python 3: other codecs, other chunks, shards and none."""
    chunks, codec = chunked(values.shape), (ZstdCodec(), GzipCodec(), BloscCodec())[how % 3]
    shards = tuple(2 * n for n in chunks) if how % 2 else None
    group = zarr.open_group(root, mode="a")
    array = group.create_array(
        path, shape=values.shape, dtype=values.dtype, chunks=chunks, shards=shards,
        compressors=codec, config={"write_empty_chunks": True},
    )  # fmt: skip
    array[...] = values


def write_tensorstore(root: Path, path: str, values: Array, how: int) -> None:
    """An array by TensorStore, of zarr 2, or of zarr 3 where zarr-python lacks the dtype."""
    v2 = how == 2
    chunks = chunked(values.shape)
    dtype = ts.dtype(values.dtype).name
    metadata = {"shape": values.shape}
    if v2:
        names = {"bfloat16": "bfloat16", "int8": "|i1", "float32": "<f4"}
        metadata |= {"chunks": chunks, "dtype": names[dtype], "compressor": {"id": "zstd"}}
    else:
        grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
        metadata |= {"chunk_grid": grid, "data_type": dtype}
    spec = {
        "driver": "zarr" if v2 else "zarr3",
        "kvstore": f"file://{root / path}/",
        "metadata": metadata,
        "store_data_equal_to_fill_value": True,
    }
    ts.open(spec, create=True).result().write(values).result()


def write_3(root: Path, path: str, values: Array, how: int) -> None:
    """An array of zarr 3, by whichever of the two has its dtype."""
    write = write_tensorstore if values.dtype == ml_dtypes.bfloat16 else write_python
    write(root, path, values, how)


WRITERS: dict[str, tuple[Callable[[Path, str, Array, int], None], Callable[[int], int]]] = {
    "zarr-python": (write_3, lambda number: number),
    "zarr 2": (write_tensorstore, lambda _: 2),
}


def check_read(grokpack: list[str], source: Path, work: Path) -> None:
    """Write stores in other ways, and see that grokpack makes the same pickles of them."""
    for name, (write, how) in WRITERS.items():
        root, again = work / f"by {name}", work / f"from {name}"
        for number, (path, values) in enumerate(leaves(source)):
            write(root, path, values, how(number))
        shutil.copy(next(p for p in (source, source.parent) if (p / "config.json").exists())
                    / "config.json", root)  # fmt: skip
        subprocess.run([*grokpack, "verify", root, "--values", "--quiet"], check=True)
        subprocess.run(
            [*grokpack, "convert", root, "--to", "ckpt-0", "-o", again, "--quiet"], check=True
        )
        compare(source, again)
        print(f"{name}: grokpack makes the same pickles of a store that it wrote")


def check_grok2(grokpack: list[str], release: Path, work: Path) -> None:
    """Compare a store of Grok-2 with its release, and what grokpack makes of the store."""
    out, again = work / "Grok-2", work / "Grok-2 again"
    for source, to in ((release, ["zarr", "-o", out]), (out, ["sglang", "--tp", "8", "-o", again])):
        subprocess.run([*grokpack, "convert", source, "--to", *to, "--quiet"], check=True)
    check_written(release, out, merged(release))
    for (name, wanted), (other, found) in zip(merged(release), merged(again), strict=True):
        assert name == other, other
        assert same(found, wanted), name
    print(f"{release}: back to the same slices")


def compare(source: Path, again: Path) -> None:
    """Compare the pickles of two checkpoints, byte for byte."""
    paths = sorted((source / "ckpt-0").glob("tensor*"))
    assert paths, source
    for path in paths:
        assert path.read_bytes() == (again / "ckpt-0" / path.name).read_bytes(), path.name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grokpack", required=True, help="the Python that has it")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--release", type=Path, required=True, help="of Grok-2")
    parser.add_argument("source", type=Path, nargs="+")
    given = parser.parse_args()
    grokpack = [given.grokpack, "-m", "grokpack"]
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    work = given.work.resolve()
    for number, source in enumerate(given.source):
        out, again = work / f"out {number}", work / f"again {number}"
        convert = [*grokpack, "convert"]
        subprocess.run([*convert, source, "--to", "zarr", "-o", out, "--quiet"], check=True)
        check_written(source, out, leaves(source))
        check_damage(out)
        small = work / f"small {number}"
        compressed = ["--to", "zarr", "--compress", "zstd", "-o", small, "--quiet"]
        subprocess.run([*convert, source, *compressed], check=True)
        check_written(source, small, leaves(source))
        subprocess.run([*convert, out, "--to", "ckpt-0", "-o", again, "--quiet"], check=True)
        compare(source, again)
        print(f"{source}: back to the same pickles")
    check_grok2(grokpack, given.release, work)
    check_read(grokpack, given.source[-1], work)


if __name__ == "__main__":
    sys.exit(main())
