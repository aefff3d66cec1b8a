"""`grokpack-manifest FILE...`, for pre-commit: check manifests without their weights."""

from __future__ import annotations

import reprlib
import sys
from typing import TYPE_CHECKING, Any

import typer

from grokpack.checkpoint import manifest_file
from grokpack.cli import streams
from grokpack.core import escaping
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


_HELP = """Usage: grokpack-manifest FILE...

  Check grokpack.json files without the weights that they are about: their form, and that no
  path in them leads out of its folder. A line for each reason, and exit status 1, if one is not
  sound.

  In .pre-commit-config.yaml the hook `grokpack-manifest` runs it on every grokpack.json.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Check each file; exit with status 1 and a line for each reason if one is not sound."""
    if arguments is None:
        streams.guard()
    paths = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & {*paths}:
        typer.echo(_HELP, nl=False)
        sys.exit(int(ExitStatus.OK))
    wrong = [f"{path}: {reason}" for path in paths for reason in faults(path)]
    for reason in wrong:
        typer.echo(escaping.escape_terminal(escaping.escape_line(reason)), err=True)
    sys.exit(int(ExitStatus.ANSWER_IS_NO if wrong else ExitStatus.OK))


def faults(path: str) -> list[str]:
    """List the reasons why a manifest is not sound, as sentences."""
    try:
        document = manifest_file.load_file(path)
        manifest_file.framings(document)
    except GrokpackError as error:
        return [f"{error.what} [{error.code}]"]
    tables = (document["files"], document.get("finals", {}))
    outside = [name for rows in tables for name in rows if not manifest_file.stays_inside(name)]
    return [*(f"{name!r} leads out of the folder" for name in outside), *_misfits(document)]


def _misfits(document: dict[str, Any]) -> Iterator[str]:
    """Name the values that the manifest's schema refuses, each once."""
    from pydantic import TypeAdapter, ValidationError

    from grokpack.core.documents.manifest_json import ManifestJson

    try:
        TypeAdapter(ManifestJson).validate_python(document, strict=True)
    except ValidationError as error:
        faults = (_located(fault["loc"], document) for fault in error.errors(include_url=False))
        for place, value in dict.fromkeys(faults):
            yield f"{place} is {value}: see `grokpack explain --schema {manifest_file.FILE}`"


def _located(steps: Iterable[int | str], value: Any) -> tuple[str, str]:  # noqa: ANN401  # JSON values
    """Follow keys to a value; return them and it, in words.

    Steps after the last key are indices and alternatives of a type, which say nothing to people.
    """
    keys: list[str] = []
    for step in steps:
        if not isinstance(value, dict) or not isinstance(step, str):
            break
        keys.append(step)
        if step not in value:
            return ".".join(keys), "missing"
        value = value[step]
    return ".".join(keys), reprlib.repr(value)
