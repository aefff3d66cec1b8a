"""Conversions: from a checkpoint and options to a plan."""
