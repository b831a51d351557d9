"""The road: queues, transport, vault and pipeline. A producer needs nothing above this package."""
