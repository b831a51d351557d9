"""What Redis keeps of jobs: their records, audio, outcomes, and the dead letters that belong to them."""
