"""Proofs: whether a faster or smaller form of a model answers as float32 does, on this machine with these weights."""
