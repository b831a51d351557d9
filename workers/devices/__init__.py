"""The device: its memory, its processor, and which one a stage runs on."""
