"""Human-readable text: what commands print, and how it spells numbers, names and errors."""
