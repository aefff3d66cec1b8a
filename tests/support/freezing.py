"""Run the commands of `tests.support.frozen_commands` and digest what users get of each.

Left out is what may differ from run to run and from machine to machine: paths, versions, times and
rates, how much memory and disk there is, and every figure that a BLAS computes. Compressed files
are digested by what they hold, because other versions of zstd compress otherwise.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import zstandard
from typer.testing import CliRunner

from grokpack.cli.app import app
from tests.support import console
from tests.support.frozen_commands import MODEL
from tests.support.sentencepieces import sentencepieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Frozen = dict[str, dict[str, Any]]
"""By command: its exit status, digests of its answer and of the files that it wrote."""

_VARYING_KEYS = {
    "disk_free_bytes",
    "estimate",
    "memory_allowed_bytes",
    "memory_bytes",
    "processes",
    "seconds",
    "version",
    "workers",
}
_COMPRESSES = ("--to archive", "--compress zstd")
_COMPUTES = ("evaluate", "generate")
_DIGITS = 4  # of a float: statistics are sums, whose last digits depend on the processor
_MANIFEST_VERSION = "0.1.0"
_VERSION = re.compile(r"\b\d+\.\d+\.\d+(?:\.dev\d+)?\b")
_NUMBER = re.compile(r"[-+]?\b\d[\d,.]*(?:e[-+]?\d+)?\b")
_SECONDS = re.compile(r'\btime="[\d.]+"')  # of a test case of JUnit
_VARYING_HTML = re.compile(rb'(?s)<(footer|style)>.*?</\1>|<div class="gallery">.*?</div>')
"""What depends on the clock, on versions, on looks, and on the library that draws."""
_MEMORY = re.compile(r"\b\d[\d.]* [kMG]?B (memory|of [\d.]+ [MG]B allowed \(.*\))")


def run_chapter(commands: list[str], folder: Path, kept: dict[str, str] | None = None) -> Frozen:
    """Run a chapter in an empty folder.

    Args:
        commands: Its commands; of those that begin with `@` nothing is kept.
        folder: The folder.
        kept: Receives what was digested as text, by command.
    """
    found: Frozen = {}
    with contextlib.chdir(folder), _plain_environment(folder):
        there = _states()
        for command in commands:
            if command.startswith("@"):
                name, *words = command[1:].split()
                _INPUTS[name](*map(Path, words))
                there = _states()
                continue
            answer = _invoke(command, folder)
            now = _states()
            written = [path for path in now if there.get(path) != now[path]]
            there = now
            files = {path: _digest(_content(path, command, folder)) for path in written}
            found[command] = answer | ({"files": _gathered(files)} if files else {})
            if kept is not None:
                kept[command] = json.dumps(answer, indent=1)
    return {command: _digested(entry) for command, entry in found.items()}


def differences(frozen: Frozen, now: Frozen) -> list[str]:
    """What is not as it was frozen, a sentence for each."""
    found = [f"`{command}` is not frozen" for command in now if command not in frozen]
    found += [f"`{command}` is not run any more" for command in frozen if command not in now]
    for command in frozen.keys() & now.keys():
        before, after = frozen[command], now[command]
        for part in sorted((before.keys() | after.keys()) - {"files"}):
            if before.get(part) != after.get(part):
                found.append(f"`{command}`: {part} was {before.get(part)}, is {after.get(part)}")
        old, new = before.get("files", {}), after.get("files", {})
        for path in sorted(old.keys() | new.keys()):
            if old.get(path) != new.get(path):
                found.append(f"`{command}`: {path} was {old.get(path)}, is {new.get(path)}")
    return found


@contextlib.contextmanager
def _plain_environment(folder: Path) -> Iterator[None]:
    """A block in which no setting of the user's counts but workers, memory and kernels.

    Manifests say one version, because outputs that carry a manifest along say its checksum. Pages
    are written as without matplotlib: their charts are not digested.
    """
    taken = ("GROKPACK_WORKERS", "GROKPACK_MEMORY", "GROKPACK_KERNELS")
    own = {
        name: value
        for name, value in os.environ.items()
        if name in taken or not name.startswith(("GROKPACK_", "GITHUB_", "XDG_"))
    }
    own |= {"COLUMNS": "80", "NO_COLOR": "1", "HOME": str(folder)}
    version = mock.patch("grokpack.checkpoint.manifest_file.__version__", _MANIFEST_VERSION)
    with mock.patch.dict(os.environ, own, clear=True), version, _undrawn():
        yield


def _invoke(command: str, folder: Path) -> dict[str, Any]:
    """Run a command; its status and its steady text."""
    words = shlex.split(command)
    takes_form = words[0] not in ("explain", "help")
    is_formed = "--format" in words or "--report" in words
    words += ["--progress", "none"] if takes_form else []
    words += ["--format", "json"] if takes_form and not is_formed else []
    done = CliRunner().invoke(app, words)
    if done.exit_code and "--format" not in command and "--report" not in command:
        return {"status": done.exit_code, "codes": re.findall(r"\[(GP\d+)\]", done.stderr)}
    computed = _is_computed(command)
    steady = [_steady(text, folder, computed=computed) for text in (done.stdout, done.stderr)]
    return {"status": done.exit_code, "answer": steady[0], "messages": steady[1]}


def _is_computed(command: str) -> bool:
    """Whether figures depend on a BLAS, or on how well zstd compressed."""
    return command.startswith(_COMPUTES) or " archive" in command


def _steady(text: str, folder: Path, *, computed: bool) -> str:
    """What a command printed, without what may vary."""
    text = text.replace(str(folder.resolve()), "FOLDER").replace(str(folder), "FOLDER")
    with contextlib.suppress(ValueError):
        return json.dumps(_steady_value(json.loads(text), computed=computed), sort_keys=True)
    text = console.steady(_VERSION.sub("VERSION", text))
    text = _SECONDS.sub("TIME", _MEMORY.sub("MEMORY", text))
    return re.sub(r" +|─+", " ", _NUMBER.sub("N", text)) if computed else text


def _steady_value(value: Any, *, computed: bool) -> Any:
    if isinstance(value, dict):
        return {
            key: None if key in _VARYING_KEYS else _steady_value(inner, computed=computed)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_steady_value(inner, computed=computed) for inner in value]
    if isinstance(value, float):
        return "a float" if computed else float(f"{value:.{_DIGITS}g}")
    return value


def _states() -> dict[str, tuple[int, int, int]]:
    """States of all files here, which show whether one was written, but journals and caches."""
    found = {}
    for folder, folders, names in os.walk("."):
        folders[:] = [name for name in folders if name not in (".grokpack", ".cache")]
        for name in names:
            path = f"{folder}/{name}".removeprefix("./")
            state = os.stat(path)  # noqa: PTH116  # of thousands of files after each command
            found[path] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return dict(sorted(found.items(), key=lambda row: row[0].split("/")))


def _content(path: str, command: str, folder: Path) -> bytes:
    """What is digested of a file."""
    data = Path(path).read_bytes()
    compresses = any(words in command for words in _COMPRESSES)
    if path.endswith(".zst"):
        with zstandard.ZstdDecompressor().stream_reader(
            io.BytesIO(data), read_across_frames=True
        ) as frames:
            return frames.read()
    if path.endswith(".json") and b'"tool"' in data:
        if compresses:  # it has checksums of compressed files
            return json.dumps(sorted(json.loads(data))).encode()
        return _steady(data.decode(), folder, computed=_is_computed(command)).encode()
    if compresses and not path.endswith(".json"):
        return b""  # what it holds is digested where it is read back
    if path.endswith(".html"):
        data = _VARYING_HTML.sub(b"", data)
    if path.endswith((".html", ".md")):
        return _steady(data.decode(), folder, computed=_is_computed(command)).encode()
    if path.endswith(".safetensors") and command.startswith(_COMPUTES):
        data = data[: 8 + int.from_bytes(data[:8], "little")]  # figures depend on the processor
    return data


_INPUTS: dict[str, Callable[..., object]] = {}
_MOST_FILES = 40


def _gathered(files: dict[str, str]) -> dict[str, str]:
    """Digests by file; of many files, by the folder that they are in."""
    if len(files) <= _MOST_FILES:
        return files
    folders: dict[str, list[str]] = {}
    for path, digest in files.items():
        folders.setdefault(str(Path(path).parent), []).append(f"{path} {digest}")
    return {folder: _digest("\n".join(rows).encode()) for folder, rows in folders.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _digested(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry whose texts are digests."""
    texts = {key: entry[key] for key in ("answer", "messages") if entry.get(key)}
    short = {key: _digest(text.encode()) for key, text in texts.items()}
    rest = {key: value for key, value in entry.items() if key not in ("answer", "messages")}
    return rest | short


def _input(make: Callable[..., object]) -> Callable[..., object]:
    """A line that begins with `@` and the function's name."""
    _INPUTS[make.__name__.strip("_")] = make
    return make


@cache
def _model() -> Path:
    """The model, made once for a process."""
    folder = Path(tempfile.mkdtemp(prefix="frozen-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with contextlib.chdir(folder):
        CliRunner().invoke(app, [*MODEL.split(), "--progress", "none"])
    return folder / MODEL.split()[1]


@_input
def _model_(path: Path) -> None:
    shutil.copytree(_model(), path)


@_input
def _cheap(path: Path) -> None:
    """A policy that searches for the scales of a few weights only, which takes time."""
    path.write_text('[[tensors]]\nrole = "expert"\nmethod = "rtn"\n', encoding="utf-8")


@_input
def _tokenizer(path: Path) -> None:
    path.write_bytes(sentencepieces(512))


@_input
def _tokens(path: Path) -> None:
    np.save(path, (np.arange(24) * 37 + 5) % 512)


@_input
def _prompts(path: Path) -> None:
    np.save(path, (np.arange(10).reshape(2, 5) * 29 + 3) % 512)


@_input
def _policy(path: Path) -> None:
    path.write_text(
        '[[tensors]]\nrole = "attention"\nbits = 8\n\n'
        '[[tensors]]\nname = "*/moe/linear_1/w"\ngroup = 32\nmethod = "lsq"\n\n'
        "[[tensors]]\nlayers = [-1]\nbits = 16\n",
        encoding="utf-8",
    )


@_input
def _calibration(measured: Path, path: Path) -> None:
    """A calibration with figures by rule: those that are measured depend on the processor."""
    data = measured.read_bytes()
    first = 8 + int.from_bytes(data[:8], "little")
    count = (len(data) - first) // 4
    values = (1 + np.arange(count) * 7919 % 251).astype("<f4")
    path.write_bytes(data[:first] + values.tobytes())
    measured.unlink()


@_input
def _bare(folder: Path, out: Path) -> None:
    """A checkpoint without checksums."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns(".grokpack"))
    shutil.copy(folder.parent / "config.json", out)


@_input
def _damage(folder: Path, out: Path) -> None:
    """A checkpoint that lacks the end of one file, one file, and has a bit turned in another."""
    _bare(folder, out)
    with (out / "tensor00002_000").open("r+b") as file:
        file.truncate(1000)
    (out / "tensor00004_000").unlink()
    data = bytearray((out / "tensor00000_000").read_bytes())
    data[-100] ^= 0x40
    (out / "tensor00000_000").write_bytes(data)


@_input
def _unsafe(folder: Path, out: Path) -> None:
    """A checkpoint in which one file would call a function when it is unpickled."""
    _bare(folder, out)
    (out / "tensor00001_000").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")


@_input
def _sums(folder: Path, path: Path) -> None:
    rows = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.glob("tensor*"))
    ]
    path.write_text("".join(rows), encoding="utf-8")


@contextlib.contextmanager
def _undrawn() -> Iterator[None]:
    """Hide what draws charts; other modules that are imported meanwhile stay, as numba's must."""
    modules: dict[str, Any] = sys.modules
    name = "grokpack.report.pages.chart_drawing"
    held = modules.pop(name, None)
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]
        if held is not None:
            modules[name] = held
