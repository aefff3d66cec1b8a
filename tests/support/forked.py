"""Commands run in processes forked from one that has imported the program already.

Each is a process of its own, with the words, folder, environment and streams that it is given; only
the start of the interpreter and the imports, most of what a small command costs, are made once.
What a process reads while it starts, before its words, is tested by starting it in full.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "grokpack"]
SECONDS = 300.0
"""Time after which a command that has not ended fails its test."""

_LENGTH_BYTES = 4
_MOST_DESCRIPTORS = 256
_READ_AT_THE_START = ("PYTHON", "LC_", "LANG", "OPENBLAS_")
_NOT_LOADED = {
    "__main__",
    "compiled",
    "http",
    "remote",
    "model_code",
}  # see what is read at the start
_ENVIRONMENT = dict(os.environ)
_LEFT_BEHIND = {
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1"),
    "PYTHONHASHSEED": "6640",
}
"""Variables that the server has in any case: `evaluate` and Dask's clusters set them in the process
that runs them, and so for all later tests of it."""


class Request(NamedTuple):
    """A command to run: its words, where, and its whole environment."""

    words: Sequence[str]
    folder: str
    environment: Mapping[str, str]


def run(
    *words: str | Path, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command, in this environment but for what is given."""
    done = run_in({**os.environ, **env}, *words, cwd=cwd)
    out, err = (
        data.decode().replace("\r\n", "\n").replace("\r", "\n")
        for data in (done.stdout, done.stderr)
    )
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def run_in(
    environment: Mapping[str, str], *words: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in an environment; in full where that has what is read at the start."""
    request = Request([*map(str, words)], str(cwd or Path.cwd()), environment)
    command = [*COMMAND, *request.words]
    if any(name.startswith(_READ_AT_THE_START) for name in _changed(environment)):
        whole = {"PYTHONPATH": str(ROOT), **environment}
        return subprocess.run(command, capture_output=True, check=False, cwd=cwd, env=whole)
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        Path(os.devnull).open("rb") as nothing,
    ):
        streams = [nothing.fileno(), out.fileno(), err.fileno()]
        status = ask(server(), request, streams)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), err.read())


def _changed(environment: Mapping[str, str]) -> set[str]:
    """Names of variables that a forked process would not find as they are here."""
    ours = environment.items() - _LEFT_BEHIND.items()
    return {name for name, _ in ours ^ (_ENVIRONMENT.items() - _LEFT_BEHIND.items())}


def shim(folder: Path) -> None:
    """Put a `grokpack` that shells find in a folder of their PATH."""
    client = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), server()]
    path = folder / "grokpack"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(client)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def ask(server: str, request: Request, streams: Sequence[int]) -> int:
    """Exit status of a command that a server ran; negative the signal that ended it."""
    data = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SECONDS)
        line.connect(server)
        socket.send_fds(line, [len(data).to_bytes(_LENGTH_BYTES, "big")], streams)
        line.sendall(data)
        return int(line.recv(16))


@cache
def server() -> str:
    """Start this process's server, which ends with it; returns where it listens."""
    folder = tempfile.mkdtemp(prefix="forked-")  # which no fork of this process removes
    place = f"{folder}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forked", place],
        cwd=ROOT,
        env={**_ENVIRONMENT, **_LEFT_BEHIND, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline(), "no server of commands"

    @atexit.register
    def end() -> None:
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)  # with all else of a run that passed

    return place


def _serve(place: str) -> None:
    """Run commands until standard input is closed; each leaves here by the end of its process."""
    _load()
    gc.freeze()  # a collection in a child would copy all pages of what is here
    ended, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print(flush=True)  # noqa: T201  # whoever started this waits for it
        new = listener.fileno()
        while 0 not in (ready := select.select([new, ended, 0], [], [])[0]):
            if ended in ready:
                os.read(ended, 1024)
                _tell(running)
            if new in ready:
                line, _ = listener.accept()
                request, streams = _received(line)
                if any(word.startswith("dask://") for word in request.words):
                    importlib.import_module("distributed")  # for this command and the next ones
                process = os.fork()
                if not process:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _become(request, streams)
                running[process] = line
                for stream in streams:
                    os.close(stream)


def _tell(running: dict[int, socket.socket]) -> None:
    """Tell how the processes that have ended did."""
    while running:
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        with running.pop(process) as line:
            line.sendall(b"%d" % os.waitstatus_to_exitcode(status))


def _received(line: socket.socket) -> tuple[Request, list[int]]:
    head, streams, *_ = socket.recv_fds(line, _LENGTH_BYTES, 3)
    length, data = int.from_bytes(head, "big"), b""
    while len(data) < length:
        data += line.recv(length - len(data))
    return Request(*json.loads(data)), streams


def _become(request: Request, streams: Sequence[int]) -> NoReturn:
    """Be the process that was asked for, and end as one does, but without taking all apart."""
    status: object = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(len(streams), _MOST_DESCRIPTORS)
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        program = importlib.import_module("grokpack.__main__")
        sys.argv = [str(program.__file__), *request.words]
        program.main()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:  # noqa: BLE001  # as the interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as at any end
        atexit._run_exitfuncs()
        for text in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                text.flush()
        os._exit(status if isinstance(status, int) else 1)


def _load() -> None:
    """Import all of the program but what reads the environment, and what few commands need."""
    for path in (ROOT / "grokpack").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not _NOT_LOADED & set(parts):
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
    importlib.import_module("rich.progress")
    app = importlib.import_module("grokpack.cli.app")
    command = importlib.import_module("typer.main").get_command(app.app)
    with contextlib.redirect_stdout(io.StringIO()):  # loads what the first command does
        command.main(["explain", "GP101"], prog_name="grokpack", standalone_mode=False)


if __name__ == "__main__":
    if sys.flags.isolated:
        place, *words = sys.argv[1:]
        status = ask(place, Request(words, str(Path.cwd()), dict(os.environ)), [0, 1, 2])
        sys.exit(status if status >= 0 else 128 - status)
    _serve(sys.argv[1])
