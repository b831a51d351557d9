"""A model switch and what it takes in memory, against the floor of moving the bytes."""
