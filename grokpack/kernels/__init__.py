"""Pure functions on arrays, in numpy and compiled; they know no files and no model."""
