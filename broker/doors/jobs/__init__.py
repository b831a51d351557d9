"""The jobs API: submit, list, follow, cancel, results and groups."""
