"""The stages' engines, independent of Celery and of each other."""
