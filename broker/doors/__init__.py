"""The doors of `golem serve`: OpenAI's audio API, the jobs API, Wyoming, and the page that shows the models."""
