"""Layouts of grokpack's own formats: the file and offset of each tensor."""
