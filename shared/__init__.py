"""Records, settings, errors and label sets that producers and workers share. Imports no broker and no model library."""
