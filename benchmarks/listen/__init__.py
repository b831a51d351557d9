"""How soon `golem listen` shows words, and how many of them it takes back."""
