"""Readers of all source formats, and the writer of the store's: safetensors plus the files that transformers needs."""
