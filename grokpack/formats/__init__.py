"""Grammars of the file formats that grokpack reads and writes, one module each."""
