"""Faults injected, damage done, hostile files: what must never happen then does not happen."""
