"""Families of models: tensors, geometry, partition, names and constants."""
