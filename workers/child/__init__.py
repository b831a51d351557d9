"""The child process of a worker: holds the models and runs the stages. The parent forks it and respawns it."""
