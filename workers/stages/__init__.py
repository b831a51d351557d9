"""What each model does: one engine a file, knowing neither Celery nor its neighbours."""
