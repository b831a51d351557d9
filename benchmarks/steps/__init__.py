"""Benchmarks of single steps: a language model's tokens, and a processor's matrix products."""
