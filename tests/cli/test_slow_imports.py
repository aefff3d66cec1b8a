"""Modules that take long to import, and that neither the library nor `--help` may load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT

SLOW_IMPORTS = {
    "botocore",
    "google",
    "google_crc32c",
    "numba",
    "numpy",
    "pickle",
    "rich",
    "tensorstore",
    "urllib3",
}


def _loaded_after(program: str) -> set[str]:
    """Modules that a fresh interpreter holds when `program` has run, and ended if it does so."""
    at_the_end = """
import atexit, json, sys
atexit.register(lambda: sys.stderr.write("\\n" + json.dumps(sorted(sys.modules))))
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", at_the_end + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return {*json.loads(run.stderr.splitlines()[-1])}


def test_importing_the_library_loads_nothing_slow() -> None:
    assert not _loaded_after("import grokpack") & {*SLOW_IMPORTS, "pydantic"}


def _command(*words: str) -> str:
    """Return a program that runs a command, which must succeed."""
    return f"""
import runpy, sys
sys.argv = {["grokpack", *words]!r}
runpy.run_module("grokpack", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("command", ["", "inspect", "verify", "reshard", "synth"])
def test_help_loads_nothing_slow(command: str) -> None:
    words = [word for word in (command, "--help") if word]
    assert not _loaded_after(_command(*words)) & SLOW_IMPORTS


def test_a_command_on_a_folder_loads_neither_the_network_nor_types(tmp_path: Path) -> None:
    """Typer loads pydantic itself, but what pydantic would make of our types takes time as well."""
    source = str(tmp_path / "source")
    made = _command("synth", source, "--preset", "tiny", "-q")
    looked = _command("inspect", source, "--json") + _command("verify", source, "--json")
    loaded = _loaded_after(made + looked)
    assert not loaded & {"urllib3", "ssl", "botocore", "google", "grokpack.core.documents"}
