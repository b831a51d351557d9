"""From the bytes of a file to speech: decoding, levels, voice activity, windows."""
