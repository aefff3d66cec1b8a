"""The model families that grokpack knows, one module each."""
