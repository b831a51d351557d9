"""Sources of checkpoints (the hub, the package index, a local folder) and writing to the store's disk."""
