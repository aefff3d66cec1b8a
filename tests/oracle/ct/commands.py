"""Run commands of grokpack, given as JSON on stdin, in its own environment."""

from __future__ import annotations

import json
import sys

from grokpack.cli.app import main


def run(arguments: list[str]) -> int:
    """The status that a command exits with."""
    sys.argv = ["grokpack", *arguments]
    return main()


if __name__ == "__main__":
    for command in json.load(sys.stdin):
        status = run(command)
        if status:
            sys.exit(f"{' '.join(command)}: exit status {status}")
