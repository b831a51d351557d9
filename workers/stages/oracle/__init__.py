"""The Oracle: from an intent to a reply."""
