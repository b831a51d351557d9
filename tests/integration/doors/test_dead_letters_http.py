"""Dead letters through the door: an operator lists, retries and drops them; nobody else sees one."""

import httpx
import pytest

from golem_chain.broker.doors.access import guard
from golem_chain.broker.doors.door import Caller, Door
from tests.support.door import serving


@pytest.fixture
def letter(chain, tmp_path, door, eventually):
    """A dead letter: its job killed every worker that tried it."""
    job = chain.pipeline.submit(f"die without {tmp_path / 'well'}".encode(), labels="a,b")
    assert chain.outcomes([job])[job].state == "failed"
    found = eventually(lambda: [one for one in letters(door) if one["job"] == job])
    return found[0] | {"well": tmp_path / "well"}


def letters(door):
    return httpx.get(f"{door}/v1/dead-letters").json()["letters"]


def test_an_operator_sees_and_retries_a_dead_letter(door, chain, letter):
    assert (letter["queue"], len(letter["letter"])) == ("scribe", 12)
    assert httpx.get(f"{door}/v1/system").json()["dead"] >= 1
    letter["well"].touch()
    assert httpx.post(f"{door}/v1/dead-letters/{letter['letter']}/retry").json() == {"job": letter["job"]}
    assert chain.outcomes([letter["job"]])[letter["job"]].state == "done"
    again = httpx.post(f"{door}/v1/dead-letters/{letter['letter']}/retry")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "unknown_letter")


def test_a_dropped_letter_is_gone_and_its_job_keeps_its_outcome(door, chain, letter):
    assert httpx.delete(f"{door}/v1/dead-letters/{letter['letter']}").status_code == 204
    assert letter["letter"] not in [one["letter"] for one in letters(door)]
    assert chain.pipeline.outcome(letter["job"]).state == "failed"
    assert httpx.delete(f"{door}/v1/dead-letters/{letter['letter']}").status_code == 404


@pytest.mark.parametrize("name", ["0" * 12, "x", "a%20b", "é" * 200])
def test_an_unknown_letter_is_not_found(door, name):
    assert httpx.delete(f"{door}/v1/dead-letters/{name}").status_code == 404


def test_who_is_no_operator_sees_no_letter_and_not_even_their_number(chain, monkeypatch):
    monkeypatch.setattr(guard, "local_caller", lambda settings: Caller("page", "0" * 32), raising=False)
    with serving(chain.settings, Door(chain.settings)) as url:
        for method, path in (("GET", ""), ("POST", "/x/retry"), ("DELETE", "/x")):
            answer = httpx.request(method, f"{url}/v1/dead-letters{path}")
            assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
        assert httpx.get(f"{url}/v1/system").json()["dead"] is None
