"""Follows jobs to their ends: waits, shows bars of what is under way, and a row for each end."""
