"""A folder whose recordings are processed as they arrive: `golem watch`."""
