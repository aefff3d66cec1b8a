"""Paths as callers give them."""

from __future__ import annotations

import os

StrPath = str | os.PathLike[str]
"""Path of a file or folder, or a URL as a string."""
