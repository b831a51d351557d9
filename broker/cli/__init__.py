"""The command line `golem`. Each command imports what it needs when it runs."""
