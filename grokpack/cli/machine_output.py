"""Results for programs on stdout: JSON, GitHub's workflow commands, JUnit XML."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from grokpack.core.errors import GrokpackError
from grokpack.report import envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.core.documents.answer_json import Answer
    from grokpack.report.junit import Case

FORMS = ("json", "github", "junit")
_SUMMARY = "GITHUB_STEP_SUMMARY"  # where GitHub Actions takes a job's summary from


def form_of(words: Sequence[str]) -> str:
    """Find the form that a command line requests, even if it cannot be parsed as a whole."""
    if "--json" in words:
        return "json"
    form = os.environ.get("GROKPACK_FORMAT", "")
    for before, word in zip(("", *words), words, strict=False):
        if before == "--format":
            form = word
        elif word.startswith("--format="):
            form = word.partition("=")[2]
    return form


def write(form: str, document: Answer, cases: Sequence[Case] = ()) -> None:
    """Put a document on stdout in one of `FORMS`; other forms are for people."""
    if form == "json":
        typer.echo(envelope.text(document))
    elif form == "github":
        _annotate(document)
    elif form == "junit":
        from grokpack.core import escaping
        from grokpack.report import junit

        typer.echo(escaping.xml(junit.render(document, cases)))


def _annotate(document: Answer) -> None:
    from grokpack.report import github

    typer.echo(github.render(document))
    summary = os.environ.get(_SUMMARY)
    if summary:
        from grokpack import storage

        with suppress(GrokpackError):  # the annotations say the same
            storage.append_line(summary, github.summary(document))
