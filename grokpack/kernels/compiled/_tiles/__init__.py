"""Passes over tiles of matrices, compiled: products with scales, distances."""
