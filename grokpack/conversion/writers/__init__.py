"""Writers: one module for each output format, from the tensors of any source."""
