"""Two keys at one door: whatever one of them asks, it learns nothing of the other's jobs, and changes none."""

import itertools
import time
from contextlib import suppress

import httpx
import pytest

from golem_chain.broker.doors.access import keys
from golem_chain.broker.doors.access.keys import Key
from tests.support.door import serving

NAMES = ("alice", "bob", "root")
WORDS = "turn it on"
READ = (
    "/v1/jobs", "/v1/jobs?q=secret", "/v1/jobs?group=g", "/v1/groups/g", "/v1/groups/g/ends", "/v1/labels",
    "/v1/labels/mine", "/v1/system", "/v1/models", "/v1/session", "/ready",
)  # fmt: skip


@pytest.fixture(scope="module")
def clients(chain):
    """Clients of two keys and of an operator's."""
    path, made = chain.folder / "keys.toml", {name: keys.make() for name in NAMES}
    for name, key in made.items():
        keys.add(path, Key(name=name, sha256=keys.hash_of(key), operator=name == "root"))
    with serving(chain.settings.model_copy(update={"api_keys": f"@{path}"})) as url:
        found = {
            name: httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=20)
            for name, key in made.items()
        }
        yield found
        for client in found.values():
            client.close()


@pytest.fixture(scope="module")
def job(clients):
    """The id of a job of alice's, in a group of hers, with a label set of hers, that has ended."""
    alice = clients["alice"]
    assert alice.put("/v1/labels/mine", content="on,off", headers={"content-type": "text/plain"}).is_success
    answer = alice.post(
        "/v1/jobs", data={"labels": "@mine", "group": "g"}, files={"file": ("secret.wav", WORDS.encode())}
    )
    (found,) = answer.json()["jobs"]
    end = time.monotonic() + 60
    while alice.get(f"/v1/jobs/{found['id']}").json()["state"] not in ("done", "failed"):
        assert time.monotonic() < end
        time.sleep(0.05)
    return str(found["id"])


def lines_of(client, path, most_s=2.5):
    """What a stream of events says in a few seconds."""
    told = []
    with suppress(httpx.ReadTimeout), client.stream("GET", path, timeout=httpx.Timeout(20, read=most_s)) as answer:
        end = time.monotonic() + most_s
        for line in answer.iter_lines():
            told.append(line)
            if time.monotonic() > end:
                break
    return "\n".join(told)


@pytest.mark.parametrize("stranger", ["bob", "root"])
def test_every_route_of_a_job_is_as_if_it_never_was(clients, job, stranger):
    client, asked = clients[stranger], 0
    paths = client.get("/openapi.json").json()["paths"]
    for path, method in [(path, one) for path, ways in paths.items() if "{id}" in path for one in ways]:
        if path.startswith("/v1/dead-letters"):
            continue
        told = [client.request(method, path.replace("{id}", id)) for id in (job, "0" * len(job))]
        assert [one.status_code for one in told] == [404, 404], (method, path)
        assert told[0].text.replace(job, "") == told[1].text.replace("0" * len(job), ""), (method, path)
        asked += 1
    assert asked >= 4
    assert clients["alice"].get(f"/v1/jobs/{job}").json()["state"] == "done"


@pytest.mark.parametrize("stranger", ["bob", "root"])
def test_lists_groups_label_sets_and_events_hold_nothing_of_another_key(clients, job, stranger):
    client = clients[stranger]
    seen = [client.get(path).text for path in READ]
    seen += [
        lines_of(client, path) for path in ("/v1/jobs/events", "/v1/groups/g/events", "/v1/system/events?last_s=300")
    ]
    for text, word in itertools.product(seen, (job, "secret.wav", WORDS, 'mine"')):
        assert word not in text.replace("/v1/labels/mine", ""), text
    own = clients["alice"]
    assert job in own.get("/v1/jobs?q=secret").text
    assert job in lines_of(own, "/v1/system/events?last_s=300")


def test_the_same_request_by_another_key_is_another_job(clients):
    def ask(name, **headers):
        return clients[name].post(
            "/v1/audio/transcriptions",
            data={"model": "whisper-1"},
            files={"file": ("a.wav", b"said twice")},
            headers=headers,
        )

    assert ask("alice").headers["x-golem-job"] != ask("bob").headers["x-golem-job"]
    jobs = {
        clients[name].post("/v1/jobs", json={"text": WORDS}, headers={"idempotency-key": "7"}).json()["jobs"][0]["id"]
        for name in ("alice", "alice", "bob")
    }
    assert len(jobs) == 2


def test_cancelling_or_running_next_what_is_not_ours_changes_nothing(clients, chain, tmp_path):
    alice, bob, go = clients["alice"], clients["bob"], chain.root / "go"
    held = alice.post("/v1/jobs", files={"file": ("a.wav", f"until {go}".encode())}).json()["jobs"][0]["id"]
    waits = alice.post("/v1/jobs", files={"file": ("a.wav", b"waits")}, data={"group": "h"}).json()["jobs"][0]["id"]
    try:
        for id in (held, waits):
            assert bob.delete(f"/v1/jobs/{id}").status_code == 404
            assert bob.post(f"/v1/jobs/{id}/next").status_code == 404
        bob.delete("/v1/groups/h")
    finally:
        go.touch()
    end = time.monotonic() + 60
    for id in (held, waits):
        while (state := alice.get(f"/v1/jobs/{id}").json()["state"]) != "done":
            assert time.monotonic() < end, state
            assert state in ("waiting", "running"), state
            time.sleep(0.05)
