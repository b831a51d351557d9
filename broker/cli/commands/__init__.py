"""The commands that people use jobs with."""
