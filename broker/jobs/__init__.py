"""Jobs in Redis: records, audio, Outcomes, and operations on their dead letters."""
