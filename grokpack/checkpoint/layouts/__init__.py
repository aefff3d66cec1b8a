"""Layouts of grokpack's own formats: where each tensor lies in which file."""
