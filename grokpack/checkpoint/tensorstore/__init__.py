"""TensorStore: the only package that imports it at run time."""
