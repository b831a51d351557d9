"""Listening: from a microphone to jobs, utterance by utterance. Needs the extra `mic`, and no model library."""
