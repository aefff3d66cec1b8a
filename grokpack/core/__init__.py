"""Errors, events, tensors, tiles and findings: what every other package builds on."""
