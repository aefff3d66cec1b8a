"""Passes over GGUF's blocks, compiled: reading, searching, packing."""
