"""Benchmarks of model switches: time against the memcpy floor, and memory."""
