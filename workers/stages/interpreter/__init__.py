"""The Interpreter: from a text and labels to an intent."""
