"""Lazily computed arrays: views, copies, casts and quantizers."""
