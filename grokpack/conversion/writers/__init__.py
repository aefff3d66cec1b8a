"""What can be written: one module per target, each from any source's tensors."""
