"""`grokpack help`: topics that belong to no single command."""

from __future__ import annotations

from typing import Annotated

import typer

from grokpack.cli.session import session
from grokpack.errors import GrokpackError


def topics(
    topic: Annotated[str | None, typer.Argument(metavar="[TOPIC]")] = None,
) -> None:
    """Show a help topic: exit-codes, environment or formatting."""
    with session("help") as current:
        from grokpack.render.topics import TOPICS

        if topic is None:
            current.result(
                "topics: " + ", ".join(TOPICS) + "\ncommands: grokpack COMMAND --help", {}
            )
            return
        if topic not in TOPICS:
            raise GrokpackError(
                "GP304", f"there is no topic `{topic}`", hint=f"topics: {', '.join(TOPICS)}"
            )
        current.result(TOPICS[topic], {})
