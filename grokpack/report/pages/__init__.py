"""HTML pages of commands: sections, tables, charts."""
