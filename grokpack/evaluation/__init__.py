"""Evaluation: perplexity of a checkpoint, and its distance from another, layer by layer."""
