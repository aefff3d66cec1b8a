"""Completion as people meet it: installed by the option, typed in a shell on a terminal."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grokpack.cli.command_group import COMMANDS
from grokpack.conversion.writers import writer_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

_READY = "READY>"
_SETTINGS = {
    "bash": (".bashrc", f"PS1='{_READY} '; bind 'set show-all-if-ambiguous on'"),
    "zsh": (".zshrc", f"PS1='{_READY} '; zstyle ':completion:*' menu no"),
    "fish": (".config/fish/config.fish", f"function fish_prompt; echo '{_READY} '; end"),
}
"""What a shell reads when it starts, and there a prompt and lists after a single tab."""
_TYPED = {
    "grokpack quantize --to ": set(writer_registry.QUANTIZING),
    "grokpack explain GP10": {f"GP10{digit}" for digit in range(1, 10)},
    "grokpack synth --preset ": {"tiny", "small", "grok-1", "grok-2"},
    "grokpack help ": {"exit-codes", "common", *COMMANDS},
}
_STYLES = re.compile(rb"\x1b\[[0-9;]*m|\x1b\(B")  # also within words
_MOVES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_PATIENCE_S = 30
_ON_A_TERMINAL = "import pty, sys; pty.spawn(sys.argv[1:])"


@contextmanager
def started(shell: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A shell that believes that somebody sits before it."""
    command = [sys.executable, "-c", _ON_A_TERMINAL, shell, "-i"]
    pipe = subprocess.PIPE
    # without a buffer: what is left in one would be written when the process is dead
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def shown(process: subprocess.Popen[bytes], expected: set[str]) -> set[str]:
    """Those of some words that the shell shows, before patience ends."""
    assert process.stdout is not None
    text, until = b"", time.monotonic() + _PATIENCE_S
    words: set[str] = set()
    while not expected <= words and time.monotonic() < until:
        if select.select([process.stdout], [], [], 0.1)[0]:
            text += os.read(process.stdout.fileno(), 1 << 16)
            plain = _MOVES.sub(b" ", _STYLES.sub(b"", text)).decode(errors="replace")
            words = set(re.findall(r"[\w.>-]+", plain)) & expected
    return words


@pytest.mark.parametrize("shell", _SETTINGS)
def test_a_tab_offers_what_can_be_typed(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = {"PATH": path, "HOME": str(tmp_path), "TERM": "xterm", "LANG": "C.UTF-8"}
    install = "grokpack --install-completion; true"  # `true`, so that the shell stays its parent
    subprocess.run([shell, "-c", install], env=env, check=True, stdout=subprocess.DEVNULL)
    name, settings = _SETTINGS[shell]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    with (tmp_path / name).open("a") as file:
        file.write(f"\nstty cols 200\n{settings}\n")
    tab = "\t\t" if shell == "zsh" else "\t"  # zsh's first one only reads what was installed
    with started(shell, env) as process:
        assert process.stdin is not None
        assert shown(process, {_READY}) == {_READY}
        for line, words in _TYPED.items():
            process.stdin.write(f"{line}{tab}".encode())
            assert shown(process, words) == words
            # leaves an empty line; an interrupt would drop what follows
            process.stdin.write(b"\x15")
