"""The file formats that grokpack reads and writes, one module each; none knows any model."""
