"""The page at `/`: static files, served under a strict content security policy."""
