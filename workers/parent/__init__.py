"""The parent process of a worker: takes messages, renews leases, acknowledges. It never loads a model."""
