"""Import of packages that only some targets need and grokpack does not install itself."""

from __future__ import annotations

import importlib
from typing import Any

from grokpack.core.errors import GrokpackError


def import_extra(module: str, extra: str) -> Any:  # noqa: ANN401  # a module
    """Import a module that an extra installs.

    Args:
        module: Its dotted name.
        extra: The extra of grokpack that installs it.

    Raises:
        GrokpackError: GP307 if it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = f"the package `{module.partition('.')[0]}` is needed for this and is not installed"
        hint = f"pip install 'grokpack[{extra}]'"
        facts = (("import", str(error)),)
        raise GrokpackError("GP307", what, None, facts, hint) from error
