"""A key sees its own jobs, groups and label sets only, whichever route it asks by."""

import threading
import time

import httpx
import pytest

from golem_chain.broker.doors.access import keys
from tests.support.door import serving


@pytest.fixture(scope="module")
def clients(chain):
    """Clients with a key each."""
    given = [keys.make(), keys.make()]
    named = ",".join(f"key{n}={keys.hash_of(key)}" for n, key in enumerate(given))
    with serving(chain.settings.model_copy(update={"api_keys": named})) as url:
        opened = [httpx.Client(base_url=url, timeout=30, headers={"authorization": f"Bearer {key}"}) for key in given]
        yield opened
        for one in opened:
            one.close()


@pytest.fixture
def mine(clients):
    return clients[0]


@pytest.fixture
def other(clients):
    return clients[1]


def submit(http, **body):
    return http.post("/v1/jobs", json={"stop": "interpreter", **body}).json()["jobs"][0]["id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/next"),
        ("GET", "/result"),
        ("GET", "/result?format=srt"),
        ("GET", "/events"),
    ],
)
def test_a_job_of_another_key_is_as_unknown_as_one_that_never_was(mine, other, method, path):
    job = submit(mine, text="mine")
    told = other.request(method, f"/v1/jobs/{job}{path}")
    never = other.request(method, f"/v1/jobs/never{path}")
    assert told.status_code == never.status_code == 404
    assert told.json()["error"]["message"].replace(job, "never") == never.json()["error"]["message"]
    assert mine.get(f"/v1/jobs/{job}").json()["state"] != "cancelled"


def test_lists_and_pages_have_the_jobs_of_the_key_only(mine, other, eventually):
    jobs = {submit(mine, text=f"mine {n}") for n in range(3)}
    foreign = submit(other, text="other", name="other")
    assert not {one["id"] for one in other.get("/v1/jobs?limit=100").json()["jobs"]} & jobs
    listed = {one["id"] for one in mine.get("/v1/jobs?limit=100").json()["jobs"]}
    assert jobs <= listed
    assert foreign not in listed
    last = mine.get("/v1/jobs?limit=1").json()["next"]
    assert jobs.isdisjoint(one["id"] for one in other.get(f"/v1/jobs?after={last}").json()["jobs"])


def test_groups_of_the_same_name_are_two_and_have_the_name_that_was_given(mine, other, eventually):
    job = submit(mine, text="mine", group="night")
    submit(other, text="other", group="night")
    for http in (mine, other):
        eventually(lambda http=http: http.get("/v1/groups/night").json()["ended"] == 1)
    assert [end["id"] for end in mine.get("/v1/groups/night/ends").json()["ends"]] == [job]
    assert mine.get(f"/v1/jobs/{job}").json()["group"] == "night"
    assert [one["id"] for one in mine.get("/v1/jobs?group=night").json()["jobs"]] == [job]
    other.delete("/v1/groups/night")
    assert mine.get("/v1/groups/night").json()["cancelled_at"] is None
    with mine.stream("GET", "/v1/groups/night/events") as answer:
        lines = list(answer.iter_lines())
    assert any('"group":"night"' in line for line in lines)


def test_label_sets_of_the_same_name_are_two(mine, other):
    mine.put("/v1/labels/kitchen", content="mine_a,mine_b")
    assert other.get("/v1/labels/kitchen").status_code == other.delete("/v1/labels/kitchen").status_code == 404
    other.put("/v1/labels/kitchen", content="other_a,other_b")
    assert [label["name"] for label in mine.get("/v1/labels/kitchen").json()["labels"]] == ["mine_a", "mine_b"]


def test_a_stream_of_all_jobs_tells_of_the_keys_own_only(mine, other):
    told, begun = list[str](), threading.Event()

    def listen():
        with other.stream("GET", "/v1/jobs/events") as answer:
            begun.set()
            for line in answer.iter_lines():
                told.append(line)
                if '"name":"last"' in line and '"state":"done"' in line:
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    assert begun.wait(10)
    secret = submit(mine, text="a secret of mine")
    while mine.get(f"/v1/jobs/{secret}").json()["state"] != "done":
        time.sleep(0.01)
    submit(other, text="other", name="last")
    listener.join(30)
    assert not listener.is_alive()
    assert not [line for line in told if secret in line or "secret of mine" in line]


def test_the_same_idempotency_key_of_two_keys_makes_two_jobs(mine, other):
    jobs = [
        http.post("/v1/jobs", json={"text": "same"}, headers={"idempotency-key": "1"}).json()["jobs"][0]["id"]
        for http in (mine, mine, other)
    ]
    assert jobs[0] == jobs[1]
    assert jobs[2] != jobs[0]


def test_an_idempotency_key_of_another_request_is_refused(mine):
    for text, status in (("first", 202), ("second", 422)):
        answer = mine.post("/v1/jobs", json={"text": text}, headers={"idempotency-key": "2"})
        assert answer.status_code == status, answer.text


def test_a_key_and_a_session_of_none_see_nothing(clients):
    with httpx.Client(base_url=clients[0].base_url) as nobody:
        for path in ("jobs", "jobs/x", "jobs/events", "groups/night", "labels", "jobs/x/result"):
            assert nobody.get(f"/v1/{path}").status_code == 401
        assert nobody.post("/v1/jobs", json={"text": "a"}).status_code == 401
