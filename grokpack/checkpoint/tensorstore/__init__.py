"""The only package that opens TensorStore."""
