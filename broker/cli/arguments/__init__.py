"""What commands are given: options, audio files, texts."""
