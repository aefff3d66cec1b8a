"""grokpack: check, look into and convert Grok-1 checkpoints that are too big for memory."""

__version__ = "0.1.0"
