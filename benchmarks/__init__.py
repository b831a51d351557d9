"""Benchmarks of speed, memory and scaling; none of them is a test."""
