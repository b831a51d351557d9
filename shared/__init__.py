"""What both sides speak: records, settings, errors and label sets. Imports no broker and no model library."""
