"""Webhooks: tells the URL of a job how it ended, signed and at least once. The page is docs/how-to/webhooks.md."""
