"""Who may come in: keys and their limits, the checks of Host and Origin, and the headers that browsers obey."""
