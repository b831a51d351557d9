"""Queues, transport, vault and the Python API. A producer needs this package and `shared`, nothing else."""
