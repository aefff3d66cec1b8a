"""Text for people: what commands print, and how numbers, names and errors are written."""
