"""The child process of a worker: holds the models and runs the stages. It is forked by the parent and may die."""
