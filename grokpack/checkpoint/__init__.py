"""Checkpoints: opening them, surveying their files, and reading their arrays."""
