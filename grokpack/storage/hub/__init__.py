"""Outputs to Hugging Face's hub: files committed in batches, and a record of what was."""
