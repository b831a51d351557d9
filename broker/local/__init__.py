"""Processes of our own on this machine: an embedded server, and the private system of `golem run`."""
