"""The weights on disk: where they come from, how they are checked, how they are loaded."""
