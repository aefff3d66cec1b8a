"""Folders that are broken in one way each; every one must be noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.oracle.ct.folders import Folder
from tests.oracle.ct.results import Result, failures
from tests.support import packed_formula

Arrays = dict[str, np.ndarray]
Change = Callable[[np.ndarray], np.ndarray]


def _each(ending: str, change: Change) -> Callable[[Arrays], None]:
    """A change of every array of one kind."""

    def apply(arrays: Arrays) -> None:
        for name in arrays:
            if name.endswith(ending):
                arrays[name] = np.ascontiguousarray(change(arrays[name]))

    return apply


def _nibbles_swapped(words: np.ndarray) -> np.ndarray:
    octets = words.view(np.uint8)
    return ((octets << 4) | (octets >> 4)).view(np.int32)


def _other_axis(words: np.ndarray) -> np.ndarray:
    """Codes packed along the outputs; of square weights, so that no shape tells."""
    rows, columns = words.shape
    if rows != columns * 8:
        return words
    codes = packed_formula.fields(words, 4).T.reshape(rows, columns, 8).astype(np.uint32)
    lanes = codes << np.arange(0, 32, 4, dtype=np.uint32)
    return np.bitwise_or.reduce(lanes, axis=-1).view(np.int32)


def _one_more(words: np.ndarray) -> np.ndarray:
    return (words.view(np.uint32) + np.uint32(0x11111111)).view(np.int32)


def _turned(scales: np.ndarray) -> np.ndarray:
    return scales.T.reshape(scales.shape)


ARRAYS: dict[str, Callable[[Arrays], None]] = {
    "nibbles swapped": _each(".weight_packed", _nibbles_swapped),
    "codes without offset": _each(".weight_packed", lambda w: w ^ np.int32(-0x77777778)),
    "packed along the outputs": _each(".weight_packed", _other_axis),
    "zero points one more": _each(".weight_zero_point", _one_more),
    "zero points without offset": _each(".weight_zero_point", lambda w: w ^ np.int32(-0x77777778)),
    "scales transposed": _each(".weight_scale", _turned),
    "scales in reverse": _each(".weight_scale", lambda scales: scales[:, ::-1]),
    "shape transposed": _each(".weight_shape", lambda shape: shape[::-1]),
}


def _ignore(words: str, *, add: bool) -> Callable[[dict[str, Any]], None]:
    def apply(config: dict[str, Any]) -> None:
        kept = [pattern for pattern in config["ignore"] if words not in pattern]
        config["ignore"] = [*kept, words] if add else kept

    return apply


def _weights(**changes: object) -> Callable[[dict[str, Any]], None]:
    def apply(config: dict[str, Any]) -> None:
        config["config_groups"]["group_0"]["weights"] |= changes

    return apply


CONFIG: dict[str, Callable[[dict[str, Any]], None]] = {
    "router not ignored": _ignore("gate", add=False),
    "head not ignored": _ignore("lm_head", add=False),
    "an `ignore` that hits too much": _ignore(r"re:.*o_proj$", add=True),
    "an `ignore` that hits nothing": _ignore(r"re:.*\.no_such$", add=True),
    "symmetric said of zero points": _weights(symmetric=True),
    "another group said": _weights(group_size=64),
    "eight bits said": _weights(num_bits=8),
}


GPTQ: dict[str, Callable[[Arrays], None]] = {
    "nibbles swapped": _each(".qweight", _nibbles_swapped),
    "codes without offset": _each(".qweight", lambda w: w ^ np.int32(-0x77777778)),
    "packed along the outputs": _each(".qweight", lambda w: _other_axis(w.T).T),
    "zero points one more": _each(".qzeros", _one_more),
    "scales transposed": _each(".scales", _turned),
    "g_idx in reverse": _each(".g_idx", lambda index: index[::-1]),
}

Checks = dict[str, Callable[[Folder], Iterable[Result]]]


def unnoticed(folder: Folder, scratch: Path, checks: Checks) -> Iterator[str]:
    """Break copies of a good folder; yield what was not noticed.

    The first check is of arrays and must notice whatever is wrong with them.
    """
    arrays = GPTQ if "gptq" in checks else ARRAYS
    zeros = any(name.endswith(("zero_point", "qzeros")) for name in folder.arrays)
    for number, (what, change) in enumerate({**arrays, **CONFIG}.items()):
        if (what in CONFIG and "gptq" in checks) or ("zero points" in what and not zeros):
            continue
        copy = scratch / f"broken{number}"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder.path, copy)
        (_change_arrays if what in arrays else _change_config)(copy, change)
        by = {name: failures(check(Folder(copy, folder.source))) for name, check in checks.items()}
        words = "; ".join(f"{name}: {found[0]}" for name, found in by.items() if found)
        enough = any(by.values()) and (what in CONFIG or bool(next(iter(by.values()))))
        print(f"  {'ok  ' if enough else 'FAIL'} {what:34} {words or 'nobody noticed'}", flush=True)
        if not enough:
            yield what
        shutil.rmtree(copy)


def _change_arrays(folder: Path, change: Callable[[Arrays], None]) -> None:
    (file,) = folder.glob("*.safetensors")
    arrays = load_file(file)
    before = {name: array.tobytes() for name, array in arrays.items()}
    change(arrays)
    assert any(array.tobytes() != before[name] for name, array in arrays.items()), "nothing changed"
    save_file(arrays, file, metadata={"format": "pt"})


def _change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config["quantization_config"])
    path.write_text(json.dumps(config), encoding="utf-8")
