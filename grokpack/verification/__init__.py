"""Verification: structure, contents and values of a checkpoint, and differences between two."""
