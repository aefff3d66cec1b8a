"""Mutations: headers, indices, configs, names and policies with something changed at random."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

DTYPES = ["U8", "I8", "I32", "I64", "BF16", "F16", "F32"]
POLICY = """[[tensors]]
role = "attention"
bits = 8
[[tensors]]
name = "*/moe/linear_1/w"
layers = [0, -1]
group = 32
symmetric = true
method = "lsq"
[[tensors]]
layers = "0-0"
bits = 16
"""


def absurd(dice: random.Random) -> Any:
    """A value that no header should have."""
    nested: Any = []
    for _ in range(dice.choice([1, 5, 50])):
        nested = [nested] if dice.random() < 0.5 else {"a": nested}
    return dice.choice(
        [
            0, 1, -1, 10**4000, 2, 3, 7, 10**6, 10**12, 10**15, 10**30, 2**31, 2**32, 2**63,
            -(2**63), 1.5, -0.0, 1e308, float("nan"), float("inf"), True, False, None, "", "x",
            "10", "F32", "I8", "../x", "/etc/passwd", "\x00", "\ud800", "x" * 5000, [], {},
            [0], [-1], [10**15], [0, 10**18], [10**9] * 3, [[1]], {"a": 1}, nested,
        ]
    )  # fmt: skip


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every container of a document, with each of its keys."""
    found: list[tuple[Any, Any]] = []
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        found.append((node, key))
        if isinstance(node[key], dict | list):
            found += places(node[key])
    return found


def rearrange(document: Any, dice: random.Random) -> bool:
    """Make an array look like another that a header may well describe; False where there is none.

    Its bytes stay as many, so that it is what the array means that is wrong.
    """
    table = document.get("arrays", document) if isinstance(document, dict) else {}
    rows = [
        (name, row)
        for name, row in table.items()
        if isinstance(row, dict) and isinstance(row.get("shape"), list) and "dtype" in row
    ]
    if not rows:
        return False
    (name, row), (other, twin) = dice.choice(rows), dice.choice(rows)
    kind = dice.randrange(6)
    if kind == 0:
        dice.shuffle(row["shape"])
    elif kind == 1:
        row["shape"].insert(dice.randrange(len(row["shape"]) + 1), 1)
    elif kind == 2 and row["shape"]:
        factor = dice.choice([2, 4, 8])
        row["shape"] = [row["shape"][0] * factor, *row["shape"][1:-1], row["shape"][-1] // factor]
    elif kind == 3:
        row["dtype"] = dice.choice(DTYPES)
    elif kind == 4 and "data_offsets" in row:
        start = row["data_offsets"][0]
        table[f"{name}.x" if dice.random() < 0.5 else name + "/zeros"] = {
            "dtype": dice.choice(DTYPES), "shape": [0, 4], "data_offsets": [start, start],
        }  # fmt: skip
    else:
        table[name], table[other] = twin, row
    return True


def mutate_document(document: Any, dice: random.Random) -> Any:
    """Change, lose or rename some values of a document; return it."""
    if dice.random() < 0.05:
        return absurd(dice)
    if dice.random() < 0.4 and rearrange(document, dice):
        return document
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        found = places(document)
        if not found:
            break
        shallow = [place for place in found if place[0] is document]
        holder, key = dice.choice(found if dice.random() < 0.6 else shallow)
        what = dice.random()
        if what < 0.15:
            del holder[key]
        elif what < 0.25 and isinstance(holder, dict):
            holder[str(absurd(dice))] = holder.pop(key)
        elif what < 0.4 and type(holder[key]) is int:
            holder[key] += dice.choice([-1, 1, 8, -8, 32, holder[key], -2 * holder[key]])
        else:
            holder[key] = absurd(dice)
    return document


def mutate_bytes(data: bytes, dice: random.Random, within: int | None = None) -> bytes:
    """Change, lose or add bytes in the first part of some; return them."""
    end = min(len(data), within or len(data))
    at = dice.randrange(end) if end else 0
    kind = dice.randrange(7)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + dice.randbytes(dice.choice([1, 8, 300])) + data[at:]
    if kind == 2:
        return data[:at] + data[at + dice.choice([1, 4, 8]) :]
    if kind == 3:
        number = dice.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1])
        form = dice.choice(["<Q", "<I"])
        packed = struct.pack(form, number % (1 << (8 * struct.calcsize(form))))
        return data[:at] + packed + data[at + len(packed) :]
    changed = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 8])):
        if changed:
            changed[dice.randrange(end)] = dice.randrange(256)
    return bytes(changed)


def dumped(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def mutate_json(path: Path, dice: random.Random) -> None:
    data = path.read_bytes()
    if dice.random() < 0.2:
        deep = b"[" * 100_000 if dice.random() < 0.3 else mutate_bytes(data, dice)
        path.write_bytes(deep)
        return
    path.write_bytes(dumped(mutate_document(json.loads(data), dice)))


def mutate_safetensors(path: Path, dice: random.Random) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if dice.random() < 0.3:
        path.write_bytes(mutate_bytes(data, dice, 8 + length))
        return
    header = dumped(mutate_document(json.loads(data[8 : 8 + length]), dice))
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


def mutate_gguf(path: Path, dice: random.Random) -> None:
    data = path.read_bytes()
    keys = [match.end() for match in re.finditer(rb"grok(pack)?\.[a-z_.]+", data[:5000])]
    if dice.random() < 0.5:
        path.write_bytes(mutate_bytes(data, dice, dice.choice([64, 2500, 5000])))
        return
    at = dice.choice(keys)  # its type follows, then its value
    kind = dice.choice([data[at : at + 4], struct.pack("<I", dice.randrange(14))])
    number = struct.pack("<I", dice.choice([0, 1, 3, 7, 10**6, 2**31, 2**32 - 1, 0x7FC00000]))
    path.write_bytes(data[:at] + kind + number + data[at + 8 :])


def mutate_pickle(path: Path, dice: random.Random) -> None:
    path.write_bytes(mutate_bytes(path.read_bytes(), dice, dice.choice([16, 300, 10**6])))


def mutate_names(folder: Path, dice: random.Random) -> None:
    """A file lost, added, or under another name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    path = dice.choice(files)
    odd = [
        "tensor99999_000", "tensor00000_999", "tensor00000_001", "model-00001-TP-999.safetensors",
        "x.safetensors", "x.gguf", "m-00001-of-99999.gguf", "config.json", "grokpack.index.json",
        "rank-000-of-999", "pytorch_model.bin",
    ]  # fmt: skip
    other = path.with_name(dice.choice([*odd, *(file.name for file in files)]))
    if dice.random() < 0.3 or other == path or other.is_dir():
        path.unlink()
    elif dice.random() < 0.5:
        shutil.copyfile(path, other)
    else:
        path.replace(other)


MUTATIONS: dict[str, Callable[[Path, random.Random], None]] = {
    ".json": mutate_json,
    ".safetensors": mutate_safetensors,
    ".gguf": mutate_gguf,
}


def mutate(folder: Path, dice: random.Random) -> str:
    """Change something in a checkpoint; says what."""
    if dice.random() < 0.08:
        mutate_names(folder, dice)
        return "names"
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (path.suffix in MUTATIONS or path.name.startswith("tensor"))
        and ".grokpack" not in path.parts and path.name != "generation_config.json"
    ]  # fmt: skip
    kind = dice.choice(sorted({path.suffix for path in files}))
    path = dice.choice([path for path in files if path.suffix == kind])
    if path.name == "config.json" and dice.random() < 0.3:
        mutate_groups(path, dice)
    else:
        MUTATIONS.get(kind, mutate_pickle)(path, dice)
    return str(path.relative_to(folder))


def mutate_groups(path: Path, dice: random.Random) -> None:
    """One of the numbers that a model is made of, or how it is quantized."""
    document = json.loads(path.read_bytes())
    how = document.get("quantization_config")
    if isinstance(how, dict) and dice.random() < 0.5:
        document["quantization_config"] = mutate_document(how, dice)
    numbers = [key for key, value in document.items() if type(value) in (int, float)]
    for key in dice.sample(numbers, min(len(numbers), dice.choice([1, 2]))):
        document[key] = absurd(dice)
    path.write_bytes(dumped(document))


def mutated_policy(dice: random.Random) -> bytes:
    if dice.random() < 0.3:
        return mutate_bytes(POLICY.encode(), dice)
    rows = []
    for line in POLICY.splitlines():
        key, equals, _ = line.partition(" = ")
        value = json.dumps(absurd(dice)).replace("null", '""')
        rows.append(f"{key}{equals}{value}" if equals and dice.random() < 0.3 else line)
    return "\n".join(rows).encode("utf-8", "surrogatepass")
