"""The commands that operate a system."""
