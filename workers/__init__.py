"""Those who hold models: tasks, stages, residency and the model store."""
