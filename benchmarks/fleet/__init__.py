"""Scaling to many boxes: simulated with the real scheduler, and checked against real workers."""
