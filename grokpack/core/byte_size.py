"""Formatting of sizes in bytes, in decimal units."""

from __future__ import annotations

_THOUSAND = 1000.0


def byte_size(nbytes: float) -> str:
    """Format bytes: `318.24 GB`, `12.58 MB`, `24.6 kB`, `512 B`."""
    for unit, digits in (("B", 0), ("kB", 1), ("MB", 2), ("GB", 2)):
        if abs(nbytes) < _THOUSAND:
            return f"{nbytes:.{digits}f} {unit}"
        nbytes /= _THOUSAND
    return f"{nbytes:.2f} TB"
