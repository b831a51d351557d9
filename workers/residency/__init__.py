"""Device memory: its single owner, the eviction policy, and the working memory of batches."""
