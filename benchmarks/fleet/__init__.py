"""Many boxes: simulated with the workers' own decisions, and checked against real ones."""
