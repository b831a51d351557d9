"""The Scribe: Whisper, from the bytes of a file to a transcript."""
