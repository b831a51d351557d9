"""Devices: memory readings, CPU features, and the choice of device and dtype."""
