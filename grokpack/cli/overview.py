"""Overview that `grokpack` shows without a command: each command in a line."""

from __future__ import annotations

import sys

from grokpack.cli.command_group import COMMANDS
from grokpack.core.version import __version__
from grokpack.report.text import terminal, topics

COMMON = "common"
TOPICS = (COMMON, *topics.TOPICS)
"""Topics of `grokpack help` beside commands."""

_PURPOSE = "check, look into and convert Grok checkpoints too big for memory"
_EXAMPLES = (
    "grokpack inspect ckpt-0",
    "grokpack verify ckpt-0",
    "grokpack synth tiny",
    "grokpack reshard ckpt-0 --tp 8 -o grok-1-tp8 --dry-run",
    "grokpack quantize ckpt-0 --bits 4 -o grok-1-int4",
    "grokpack convert ckpt-0 --to hf -o grok-1-hf",
)


def render() -> str:
    """Render the overview."""
    width = max(map(len, COMMANDS))
    lines = [
        f"grokpack {__version__}  {_PURPOSE}",
        "",
        *(f"  {name:<{width}}  {text.rstrip('.')}" for name, text in COMMANDS.items()),
        "",
        *_examples(terminal.text_width(sys.stdout)),
        "",
        f"  `grokpack help NAME`: a command, {', '.join(TOPICS)}",
    ]
    return "\n".join(lines)


def _examples(width: int | None) -> list[str]:
    """Lay out the examples in two columns, or in one where a line has no room for two."""
    half = -(-len(_EXAMPLES) // 2)
    column = max(map(len, _EXAMPLES[:half])) + 6
    pairs = zip(_EXAMPLES[:half], _EXAMPLES[half:], strict=True)
    lines = [f"  {left:<{column}}{right}" for left, right in pairs]
    if width is not None and max(map(len, lines)) > width:
        return [f"  {example}" for example in _EXAMPLES]
    return lines
