"""Pure functions on arrays; they know no files and no model."""
