"""Passes over magnitudes that become FP8 or four-bit floats, compiled."""
