"""TensorStore: the only package that opens it."""
