"""The running system: status, events, metrics, health."""
