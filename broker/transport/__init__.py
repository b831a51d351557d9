"""Message delivery: scheduling, the atomic take, acknowledgements, leases, dead letters."""
