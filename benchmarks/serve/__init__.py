"""What `golem serve` costs: its start, a request beside the same job without it, many clients at once."""
