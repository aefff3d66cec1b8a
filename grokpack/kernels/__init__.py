"""Functions on arrays, in numpy and compiled; they open no file and know no model."""
