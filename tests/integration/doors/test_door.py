"""A door answers in the shape of its API, whatever it is asked."""

import httpx


def test_an_unknown_path_is_an_error_in_openais_shape(door):
    answer = httpx.get(f"{door}/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"
