"""Import of packages that only some targets need and grokpack does not install itself."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

from grokpack.core.errors import GrokpackError

_TOOLS = (
    ("pipx_metadata.json", "pipx install --force"),
    ("uv-receipt.toml", "uv tool install --force"),
)
"""Files that show who made an environment for a single program, and how to make it again."""


def installation(extra: str) -> str:
    """Return the command that installs an extra into the environment that runs."""
    commands = (
        command for mark, command in _TOOLS if os.path.exists(os.path.join(sys.prefix, mark))
    )
    return f"{next(commands, 'pip install')} 'grokpack[{extra}]'"


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not there
        return False


def import_extra(module: str, extra: str, otherwise: str | None = None) -> Any:  # noqa: ANN401  # a module
    """Import a module that an extra installs.

    Args:
        module: Its dotted name.
        extra: The extra of grokpack that installs it.
        otherwise: A hint of what to do without it.

    Raises:
        GrokpackError: GP307 if it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = f"the package `{module.partition('.')[0]}` is needed for this and is not installed"
        hint = "\n".join(filter(None, (installation(extra), otherwise)))
        facts = (("import", str(error)),)
        raise GrokpackError("GP307", what, None, facts, hint) from error
