"""The Oracle's own decoder: static caches, and steps whose shapes do not change."""
