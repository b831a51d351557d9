"""Local processes: the embedded server, and the private system of `golem run`."""
