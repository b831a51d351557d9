"""Monitoring of the running system, from Redis alone."""
