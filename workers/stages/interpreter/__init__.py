"""The Interpreter: transcript and labels to intent."""
