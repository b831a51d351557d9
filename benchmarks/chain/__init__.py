"""The whole chain against the ways people run it today."""
