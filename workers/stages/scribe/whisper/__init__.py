"""Whisper itself: encoder, decoder, the decoding loop, timestamps and word times."""
