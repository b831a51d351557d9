"""A door answers in the shape of its API, whatever it is asked."""

import httpx

from golem_chain.broker.doors.app import create_app
from golem_chain.broker.doors.door import Door


def test_an_unknown_path_is_an_error_in_openais_shape(door):
    answer = httpx.get(f"{door}/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"


def test_a_method_that_a_path_lacks_is_refused_with_those_that_it_has(door):
    answer = httpx.put(f"{door}/v1/jobs/x")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, DELETE"
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_schema_names_a_key_only_where_one_is_needed(door, chain):
    assert "security" not in httpx.get(f"{door}/openapi.json").text
    keyed = chain.settings.model_copy(update={"api_keys": f"me={'0' * 64}"})
    schema = create_app(Door(keyed)).openapi()
    assert schema["paths"]["/v1/jobs"]["get"]["security"]
