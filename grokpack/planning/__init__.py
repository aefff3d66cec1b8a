"""Plans: what a run writes, from which arrays, in which tasks and within how much memory."""
