"""Benchmark of models that one small card holds only in turns."""
