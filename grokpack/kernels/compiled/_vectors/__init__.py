"""Copies, transpositions and arithmetic in vector registers."""
