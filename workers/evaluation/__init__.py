"""What the models hear and understand, measured on data that anyone can name: `golem eval`."""
