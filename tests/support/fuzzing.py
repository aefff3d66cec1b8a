"""Headers, indices, configs and policies mutated at random: every command must refuse in order.

`python -m tests.support.fuzzing COUNT [SEED]` runs many cases; test_fuzzing.py runs a few.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shutil
import signal
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from grokpack.cli.app import main
from grokpack.conversion.plan_quantize import QuantizeOptions
from grokpack.models.architecture import Geometry
from tests.faults import shapes
from tests.faults.watched import MEMORY_BYTES, Watched
from tests.support.checkpoints import reshard, synthesize
from tests.support.converting import convert
from tests.support.quantizing import quantize

TINY = Geometry(
    vocab=32, d_model=64, layers=1, experts=2, ffn=256, q_width=256, kv_width=64, head_dim=16
)
"""Every target holds it: 16 query and 4 key/value heads, scale groups of 32 inputs."""
ALLOWED = range(6)  # exit statuses: 70 is a bug, and nothing here stops a run
SECONDS = 20  # that a case may take
CLAIMING = 0.04  # of the cases are inputs that claim much; each takes as long as thirty others
QUANTIZED: dict[str, QuantizeOptions] = {
    "int4": QuantizeOptions(group="32"),
    "int4 with zero points": QuantizeOptions(group="64", symmetric=False),
    "int8 with zero points": QuantizeOptions(
        bits=8, to="compressed-tensors", group="64", symmetric=False
    ),
    "gptq": QuantizeOptions(to="gptq", group="64"),
    "w8a8": QuantizeOptions(bits=8, to="w8a8-int8", tp=1),
    "q4_0": QuantizeOptions(to="gguf", tokenizer="none"),
    "plain": QuantizeOptions(to="safetensors", group="64"),
}
COMMANDS = [
    ["inspect"],
    ["inspect", "--tree"],
    ["inspect", "--stats"],
    ["verify"],
    ["verify", "--values", "--json"],
    ["verify", "--data"],
    ["reshard", "--tp", "2"],
    ["reshard", "--tp", "4", "--to", "ckpt-0"],
    ["reshard", "--tp", "1", "--dry-run"],
    ["convert", "--to", "hf"],
    ["convert", "--to", "hf", "--dtype", "f16", "--names", "sglang"],
    ["convert", "--to", "sglang", "--tp", "2", "--dry-run"],
    ["convert", "--to", "gguf", "--type", "q8_0", "--tokenizer", "none"],
    ["convert", "--to", "ckpt-0"],
    ["convert", "--to", "safetensors"],
    ["quantize", "--group", "32"],
    ["quantize", "--to", "gguf", "--tokenizer", "none", "--dry-run"],
    ["quantize", "--bits", "8", "--tokenizer", "none"],
    ["quantize", "--bits", "8", "--to", "ckpt-0", "--dry-run"],
]
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


def sources(folder: Path) -> dict[str, Path]:
    """One checkpoint of each kind."""
    origin = synthesize(folder / "ckpt-0", TINY)
    found = {"ckpt-0": origin, "hf": folder / "hf", "sglang": folder / "sglang"}
    found |= {"gguf": folder / "gguf", "ranks": folder / "ranks", "packed": folder / "packed"}
    convert(origin, found["hf"], "hf")
    convert(origin, found["sglang"], "sglang", tp=2)
    (folder / "gguf").mkdir()
    convert(origin, found["gguf"] / "m.gguf", "gguf", type="q8_0")
    reshard(origin, found["ranks"], 2)
    for name, options in QUANTIZED.items():
        given = {key: getattr(options, key) for key in QuantizeOptions.__slots__}
        found[name] = folder / name.replace(" ", "-")
        if options.to == "gguf":
            found[name].mkdir()
        out = found[name] / "m.gguf" if options.to == "gguf" else found[name]
        quantize(origin, out, **given)
    reshard(found["int4 with zero points"], found["packed"], 2)
    return found


# Mutations


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


DTYPES = ["U8", "I8", "I32", "I64", "BF16", "F16", "F32"]


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
    """The same with some values changed, lost, or under another name."""
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
    """The same with bytes changed, lost or added in its first part."""
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


# Cases


class TooLong(BaseException):
    """A case took too long; no `except Exception` hides it."""


def ring(_number: int, _frame: FrameType | None) -> None:
    raise TooLong


def status_of(words: list[str]) -> tuple[int, str]:
    """Exit status of a command line, and what it said."""
    said = io.StringIO()
    sys.argv = ["grokpack", *words]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            return main(), said.getvalue()
        except TooLong:
            return 124, said.getvalue() + traceback.format_exc()
        except BaseException:  # noqa: BLE001  # whatever comes out is a finding
            return 70, said.getvalue() + traceback.format_exc()


class Task(NamedTuple):
    """What a case is made of.

    Attributes:
        number: Which case.
        seed: Of the whole run.
        held: Checkpoints by name.
        folder: Where the case may write.
    """

    number: int
    seed: int
    held: dict[str, Path]
    folder: Path


def case(task: Task) -> tuple[str, int, str]:
    """Run one case: what it was, its exit status and what was said."""
    dice = random.Random(f"{task.seed}/{task.number}")
    for name in ("source", "out"):
        shutil.rmtree(task.folder / name, ignore_errors=True)
    (task.folder / "source").unlink(missing_ok=True)
    made = _claiming if dice.random() < CLAIMING else _mutated
    what, words = made(task, dice)
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        status, said = status_of([*words, "--verbose"])
    finally:
        signal.alarm(0)
    return what, status, said


def _mutated(task: Task, dice: random.Random) -> tuple[str, list[str]]:
    """A checkpoint, or a policy, in which something is changed."""
    name = dice.choice(sorted(task.held))
    source = shutil.copytree(task.held[name], task.folder / "source")
    command = dice.choice(COMMANDS)
    words = _words(command, source, task.folder)
    if command[0] == "quantize" and dice.random() < 0.4:
        (task.folder / "policy.toml").write_bytes(mutated_policy(dice))
        words += ["--policy", str(task.folder / "policy.toml")]
        what = "policy"
    else:
        what = mutate(source, dice)
    return f"{' '.join(command)} of {name}, {what}", words


def _claiming(task: Task, dice: random.Random) -> tuple[str, list[str]]:
    """A small input that claims much."""
    scale = dice.choice([0.001, 0.01, 0.1])
    name = dice.choice([*shapes.SHAPES, *shapes.LISTS, *shapes.POLICIES])
    path = task.folder / "source"
    if name in shapes.SHAPES:
        path.mkdir()
        source = shapes.SHAPES[name](task.held["ckpt-0"].parent, path, scale)
        words = _words(dice.choice(COMMANDS), source, task.folder)
    elif name in shapes.LISTS:
        path.write_bytes(shapes.LISTS[name](scale))
        words = ["verify", str(task.held["hf"]), "--data", "--against", str(path)]
    else:
        path.write_bytes(shapes.POLICIES[name](scale))
        words = _words(["quantize"], task.held["ckpt-0"], task.folder)
        words += ["--policy", str(path)]
    return f"{words[0]} with {name} at {scale}", words


def _words(command: list[str], source: Path, folder: Path) -> list[str]:
    """A command line about a source."""
    words = [command[0], str(source), *command[1:]]
    if command[0] not in ("inspect", "verify"):
        words += ["--out", str(folder / "out" / ("x.gguf" if "gguf" in command else ""))]
    return words


def cases(count: int, seed: int, first: int = 0) -> Iterator[tuple[str, int, str]]:
    """Run many, each within limits of memory and time; one that passes them has status -9."""
    with tempfile.TemporaryDirectory() as name:
        held = sources(Path(name) / "held")
        shapes.prepare(Path(name) / "held")
        watched = Watched(case, MEMORY_BYTES, 2 * SECONDS)
        try:
            for number in range(first, first + count):
                yield _judged(watched, Task(number, seed, held, Path(name)))
        finally:
            watched.close()


def _judged(watched: Watched[Task, tuple[str, int, str]], task: Task) -> tuple[str, int, str]:
    """How a case went, named so that it can be run again."""
    done = watched.do(task)
    what, status, said = done.result or ("?", -9, "")
    if done.result is None or done.peak_bytes > MEMORY_BYTES:
        status = -9
        said += f"\nit took {done.peak_bytes >> 20} MiB and {done.seconds:.0f} s"
    return f"case {task.number} of seed {task.seed}: {what}", status, said


def report(count: int, seed: int, first: int) -> int:
    """Print every case that did not end in order; their number."""
    wrong = 0
    seen: dict[int, int] = {}
    for what, status, said in cases(count, seed, first):
        seen[status] = seen.get(status, 0) + 1
        if status not in ALLOWED or "Traceback" in said:
            wrong += 1
            sys.stdout.write(f"{what}: {status}\n{said[-3000:]}\n\n")
    sys.stdout.write(
        f"{count} cases, {wrong} wrong; by exit status: {dict(sorted(seen.items()))}\n"
    )
    return wrong


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]] + [1000, 0, 0][len(sys.argv) - 1 :]
    sys.exit(bool(report(*numbers[:3])))
