"""The type of a JSON object."""

from typing import Any

#: A JSON object as `json.loads` returns it. Its values are checked where they are read.
JsonObject = dict[str, Any]
