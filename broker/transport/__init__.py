"""The delivery of messages: which queue next, the atomic take, leases, dead letters."""
