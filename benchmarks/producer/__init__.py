"""Benchmarks of a producer: what submitting, waiting and looking cost with many jobs."""
