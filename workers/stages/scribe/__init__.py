"""The Scribe: Whisper, audio file to transcript."""
