"""Choosing between given phrases instead of writing freely."""
