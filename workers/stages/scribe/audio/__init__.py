"""Audio preparation: decoding, levels, voice activity detection and windows."""
