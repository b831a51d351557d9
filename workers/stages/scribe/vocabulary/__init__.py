"""Choosing among given phrases instead of transcribing freely."""
