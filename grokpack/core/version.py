"""The version of grokpack."""

from __future__ import annotations

__version__ = "0.1.0"
AGENT = f"grokpack/{__version__}"
"""Name by which grokpack introduces itself to servers."""
