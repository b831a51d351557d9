"""Benchmarks of the whole chain against transformers pipelines and faster-whisper."""
