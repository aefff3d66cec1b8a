"""Arithmetic of GGUF's blocks: the specification, in numpy."""
