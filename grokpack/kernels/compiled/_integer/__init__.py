"""Passes over a group of weights that becomes int4 or int8, compiled."""
