"""Packed weights: 8 bits by row and 4 bits by group, on disk and in memory."""
