"""Metrics for Prometheus: those of the system, read from Redis at each scrape, and those of this door."""
