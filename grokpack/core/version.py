"""The version of grokpack, and where the project is."""

from __future__ import annotations

__version__ = "0.2.0"
AGENT = f"grokpack/{__version__}"
"""Name by which grokpack introduces itself to servers."""

REPOSITORY = ""
"""Web address of the repository, without a slash at its end; empty until there is one.

Links of the package index, and README's links there, are made of it.
"""
