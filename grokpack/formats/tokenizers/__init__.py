"""Tokenizers: the grammar of their files, and texts as token ids."""
