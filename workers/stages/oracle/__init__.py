"""The Oracle: transcript and intent to reply."""
