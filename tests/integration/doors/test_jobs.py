"""The jobs API over HTTP, on a running chain with fake engines."""

import json
import select
import socket

import httpx
import pytest

from golem_chain.broker.doors.intake import bodies


@pytest.fixture(scope="module")
def http(door):
    with httpx.Client(base_url=door, timeout=30) as client:
        yield client


@pytest.fixture
def submitted(http):
    """Submits one job and returns its id."""

    def submit(audio=None, **fields):
        files = {"file": ("clip.wav", audio)} if audio is not None else None
        answer = http.post("/v1/jobs", files=files, data=fields)
        assert answer.status_code == 202, answer.text
        [job] = answer.json()["jobs"]
        assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
        return job["id"]

    return submit


@pytest.fixture
def ended(http, eventually):
    """Waits for the end of a job and returns what the API shows of it."""

    def wait(job):
        def look():
            found = http.get(f"/v1/jobs/{job}").json()
            return found if found["state"] not in ("waiting", "running") else None

        return eventually(look)

    return wait


def wrong(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["message"].endswith(".")
    return error


# -- submit


def test_a_file_goes_through_the_whole_chain(submitted, ended):
    found = ended(submitted(b"turn on", labels="turn,stop"))
    assert (found["state"], found["text"], found["intent"], found["error"]) == ("done", "turn on", "turn", None)
    assert (found["name"], found["lane"], found["group"], found["stage"]) == ("clip.wav", "interactive", None, None)
    assert found["outcome"]["reply"]["text"] == "turn: turn on"
    assert found["transcript"]["segments"][0]["text"] == "turn on"
    assert found["intent_result"]["scores"] == {"turn": 0.9, "stop": 0.0}
    assert found["submitted_at"] <= found["ended_at"]


@pytest.mark.parametrize("stop", ["interpreter", None])
def test_a_text_begins_at_the_interpreter_and_one_with_its_intent_at_the_oracle(http, ended, stop):
    body = {"text": "stop it", "labels": "turn,stop"} | ({"stop": stop} if stop else {"intent": "turn"})
    found = ended(http.post("/v1/jobs", json=body).json()["jobs"][0]["id"])
    assert found["intent"] == ("stop" if stop else "turn")
    assert list(found["outcome"]["stages"]) == [stop or "oracle"]


def test_many_files_are_one_group_in_the_bulk_lane_and_each_has_its_name(http, ended):
    files = [("file", (f"clip-{n}.wav", f"say {n}".encode())) for n in range(5)]
    answer = http.post("/v1/jobs", files=files, data={"stop": "scribe"})
    assert answer.status_code == 202
    assert "location" not in answer.headers
    told = answer.json()
    assert [job["name"] for job in told["jobs"]] == [f"clip-{n}.wav" for n in range(5)]
    found = [ended(job["id"]) for job in told["jobs"]]
    assert [one["text"] for one in found] == [f"say {n}" for n in range(5)]
    assert {(one["lane"], one["group"]) for one in found} == {("bulk", told["group"])}
    assert http.get(f"/v1/groups/{told['group']}").json()["done"] == 5


def test_a_thousand_texts_are_one_request(http, eventually):
    texts = [f"text {n}" for n in range(1000)]
    told = http.post("/v1/jobs", json={"texts": texts, "group": "thousand", "stop": "interpreter"}).json()
    assert len({job["id"] for job in told["jobs"]}) == 1000
    eventually(lambda: http.get("/v1/groups/thousand").json()["done"] == 1000)


def test_an_idempotency_key_makes_a_repeated_request_run_once(http):
    files = [("file", (f"clip-{n}.wav", f"idem {n}".encode())) for n in range(3)]
    first, again = (http.post("/v1/jobs", files=files, headers={"idempotency-key": "night-7"}).json() for _ in range(2))
    assert first == again
    assert http.get(f"/v1/groups/{first['group']}").json()["jobs"] == 3
    other = http.post("/v1/jobs", files=files, headers={"idempotency-key": "night-8"}).json()
    assert not {job["id"] for job in first["jobs"]} & {job["id"] for job in other["jobs"]}


def test_a_job_that_is_refused_takes_no_other_with_it(http):
    http.post("/v1/jobs", json={"texts": ["a", "b"], "group": "partly"})
    answer = http.post("/v1/jobs", json={"texts": ["fine", " ", "good"]})
    assert answer.status_code == 202
    states = [bool(job["error"]) for job in answer.json()["jobs"]]
    assert states == [False, True, False]
    assert answer.json()["jobs"][1] == {
        "id": None,
        "name": "text 2",
        "error": {"code": "bad_request", "message": "The text is empty: give the words that were said."},
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "file"),
        ({"text": "a", "texts": ["b"]}, "texts"),
        ({"text": 5}, "text"),
        ({"texts": ["a", None]}, "texts"),
        ({"texts": ["a"] * 1001}, "texts"),
        ({"text": "a", "label": "x"}, "label"),
        ({"text": "a", "labels": "@/etc/passwd"}, "labels"),
        ({"text": "a", "labels": "@x.toml"}, "labels"),
        ({"text": "a", "labels": {"labels": []}}, "labels"),
        ({"text": "a", "labels": {"labels": [{"name": ""}]}}, "labels"),
        ({"text": "a", "labels": ["a"]}, "labels"),
        ({"text": "a", "lane": "fast"}, "lane"),
        ({"text": "a", "lane": ["bulk"]}, "lane"),
        ({"text": "a", "group": "a b"}, "group"),
        ({"text": "a", "expires_s": -1}, "expires_s"),
        ({"text": "a", "seed": 1.5}, "seed"),
        ({"text": "a", "name": ["b", "c"]}, "name"),
        ({"text": "a", "name": 5}, "name"),
        ({"text": "a", "name": "n" * 1001}, "name"),
        ({"text": "a", "hotwords": [5]}, "hotwords"),
        ({"texts": ["a"], "intent": 5}, "intent"),
    ],
)
def test_a_bad_field_is_named_in_one_sentence(http, body, param):
    assert wrong(http.post("/v1/jobs", json=body), 400)["param"] == param


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000]
    + [b'{"text": "a", "%s": "\\ud800"}' % name for name in (b"name", b"prompt", b"webhook", b"hotwords", b"\\ud800")],
)
def test_a_body_that_is_no_json_object_is_refused(http, body):
    wrong(http.post("/v1/jobs", content=body, headers={"content-type": "application/json"}), 400)


def test_a_body_above_its_limit_is_refused(http):
    def body():
        yield b'{"texts": ["'
        for _ in range(200):
            yield b"a" * (1 << 16)
        yield b'"]}'

    wrong(http.post("/v1/jobs", content=body(), headers={"content-type": "application/json"}), 413)


def test_bodies_that_do_not_end_cannot_fill_the_memory_together(http, door, monkeypatch, eventually):
    monkeypatch.setattr(bodies, "HELD_MOST_BYTES", 1_000_000)
    address = httpx.URL(door)
    head = b"POST /v1/jobs HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\ncontent-length: 4000000\r\n\r\n"
    opened = []
    try:
        for _ in range(3):
            slow = socket.create_connection((address.host, address.port or 80))
            opened.append(slow)
            slow.sendall(head % address.netloc + b'"' + b"a" * 400_000)
        [refused, *_], _, _ = select.select(opened, [], [], 20)  # the one whose bytes came last
        answer = refused.recv(4096)
        assert b"503" in answer.splitlines()[0]
        assert b"retry-after" in answer
    finally:
        for slow in opened:
            slow.close()
    eventually(lambda: http.post("/v1/jobs", json={"text": "a" * 10_000, "stop": "interpreter"}).status_code == 202)


def test_a_file_and_a_text_exclude_each_other_and_a_field_is_given_once(http):
    wrong(http.post("/v1/jobs", files={"file": b"a"}, data={"text": "b"}), 400)
    assert wrong(http.post("/v1/jobs", data={"text": "b", "lane": ["bulk", "bulk"]}), 400)["param"] == "lane"
    assert wrong(http.post("/v1/jobs", files={"file": b"a"}, data={"intent": "b"}), 400)["param"] == "intent"
    assert wrong(http.post("/v1/jobs", data={"file": "no file"}), 400)["param"] == "file"


def test_a_failed_job_tells_why(submitted, ended):
    found = ended(submitted(b"bad"))
    assert found["state"] == "failed"
    assert found["error"] == {"code": "bad_audio", "message": "clip.wav is not audio."}


# -- one job


@pytest.mark.parametrize("path", ["", "/events", "/result"])
def test_an_unknown_job_is_404_everywhere(http, path):
    assert wrong(http.get(f"/v1/jobs/nothing{path}"), 404)["code"] == "unknown_job"
    assert http.delete("/v1/jobs/nothing").status_code == http.post("/v1/jobs/nothing/next").status_code == 404


def test_a_cancelled_job_is_shown_as_such(http, submitted):
    job = submitted(b"sleep 20")
    cancelled = http.delete(f"/v1/jobs/{job}").json()
    assert (cancelled["state"], cancelled["error"]["code"]) == ("cancelled", "cancelled")
    assert http.delete(f"/v1/jobs/{job}").json() == cancelled
    assert wrong(http.post(f"/v1/jobs/{job}/next"), 409)["code"] == "already_ended"


def test_what_waits_is_told_from_what_runs_and_can_be_moved_to_the_head(http, submitted, eventually, tmp_path):
    gate = tmp_path / "gate"
    runs = submitted(f"until {gate}".encode())
    eventually(lambda: http.get(f"/v1/jobs/{runs}").json()["state"] == "running")
    waits = submitted(b"later", lane="bulk")
    shown = http.get(f"/v1/jobs/{waits}").json()
    assert (shown["state"], shown["stage"], shown["outcome"], shown["transcript"]) == ("waiting", "scribe", None, None)
    assert http.post(f"/v1/jobs/{waits}/next").json()["lane"] == "interactive"
    assert wrong(http.get(f"/v1/jobs/{waits}/result"), 409)["code"] == "not_ready"
    assert wrong(http.get(f"/v1/jobs/{waits}/result?format=srt"), 409)["code"] == "not_ready"
    gate.touch()


def test_a_result_is_a_file_of_the_form_that_is_asked_for(http, submitted, ended):
    job = submitted(b"turn on", name="Küche/один.wav")
    ended(job)
    got = {form: http.get(f"/v1/jobs/{job}/result", params={"format": form}) for form in ("json", "srt", "vtt", "txt")}
    assert got["json"].json()["transcript"]["text"] == "turn on"
    assert got["srt"].text == "1\n00:00:00,000 --> 00:00:01,000\nturn on\n\n"
    assert got["vtt"].text.startswith("WEBVTT\n")
    assert got["txt"].text == "turn on\n"
    assert got["srt"].headers["content-type"].startswith("application/x-subrip")
    assert got["srt"].headers["content-disposition"] == (
        "attachment; filename=\"result.srt\"; filename*=UTF-8''%D0%BE%D0%B4%D0%B8%D0%BD.srt"
    )
    assert wrong(http.get(f"/v1/jobs/{job}/result?format=exe"), 400)["param"] == "format"


def test_a_job_that_failed_before_its_transcript_has_none(http, submitted, ended):
    job = submitted(b"bad")
    ended(job)
    assert "clip.wav is not audio" in wrong(http.get(f"/v1/jobs/{job}/result?format=srt"), 409)["message"]
    assert http.get(f"/v1/jobs/{job}/result").json()["state"] == "failed"


# -- the list


def test_pages_of_the_list_are_filtered_and_stay_as_they_are(http, eventually):
    texts = [f"listed {n}" for n in range(7)]
    names = [f"Listed-{n}" for n in range(7)]
    http.post("/v1/jobs", json={"texts": texts, "name": names, "group": "listed", "stop": "interpreter"})
    eventually(lambda: http.get("/v1/groups/listed").json()["ended"] == 7)
    first = http.get("/v1/jobs", params={"group": "listed", "limit": 3}).json()
    http.post("/v1/jobs", json={"text": "a new one", "group": "listed"})
    rest = http.get("/v1/jobs", params={"group": "listed", "limit": 100, "after": first["next"]}).json()
    assert [job["name"] for job in first["jobs"] + rest["jobs"]] == names[::-1]
    found = http.get("/v1/jobs", params={"q": "listed-3", "state": "done"}).json()["jobs"]
    assert [job["text"] for job in found] == ["listed 3"]
    assert http.get("/v1/jobs", params={"q": "listed-3", "state": "failed"}).json()["jobs"] == []


@pytest.mark.parametrize("query", ["state=odd", "stage=odd", "limit=0", "limit=101", "after=odd", "group=a%20b"])
def test_a_bad_filter_is_named(http, query):
    assert wrong(http.get(f"/v1/jobs?{query}"), 400)["param"] == query.partition("=")[0]


# -- groups


def test_a_group_is_counted_listed_and_cancelled(http, eventually):
    http.post("/v1/jobs", json={"texts": ["one", "two"], "group": "counted", "stop": "interpreter"})
    eventually(lambda: http.get("/v1/groups/counted").json()["ended"] == 2)
    page = http.get("/v1/groups/counted/ends").json()
    assert {end["outcome"]["transcript"]["text"] for end in page["ends"]} == {"one", "two"}
    assert http.get("/v1/groups/counted/ends", params={"since": page["next"]}).json() == {
        "ends": [],
        "next": page["next"],
    }
    assert http.delete("/v1/groups/counted").json()["cancelled_at"]
    assert wrong(http.post("/v1/jobs", json={"text": "late", "group": "counted"}), 409)["code"] == "group_cancelled"
    assert wrong(http.get("/v1/groups/never"), 404)["code"] == "unknown_group"
    for path in ("ends", "events"):
        wrong(http.get(f"/v1/groups/never/{path}"), 404)
    assert wrong(http.get("/v1/groups/counted/ends?since=odd"), 400)["param"] == "since"


# -- label sets


def test_a_stored_label_set_is_used_by_its_name(http, ended):
    put = http.put("/v1/labels/kitchen", content='lights="turning lights on|lamps",stop')
    assert put.json()["labels"][0] == {"name": "lights", "phrasings": ["turning lights on", "lamps"], "prompt": None}
    assert http.get("/v1/labels").json()["labels"][:2] == [
        {"name": "kitchen", "built_in": False},
        {"name": "default", "built_in": True},
    ]
    assert http.get("/v1/labels/kitchen").json() == put.json()
    job = http.post("/v1/jobs", json={"text": "stop", "labels": "@kitchen"}).json()["jobs"][0]["id"]
    assert ended(job)["intent_result"]["scores"] == {"lights": 0.0, "stop": 0.9}
    assert http.put("/v1/labels/kitchen", json=put.json()).json() == put.json()
    assert http.delete("/v1/labels/kitchen").status_code == 204
    wrong(http.delete("/v1/labels/kitchen"), 404)
    wrong(http.get("/v1/labels/kitchen"), 404)
    wrong(http.post("/v1/jobs", json={"text": "stop", "labels": "@kitchen"}), 400)


@pytest.mark.parametrize("body", ["", "a,a", '"', "@/etc/passwd", "@../x.toml", "unknown", b"\xff", "a" * 600_000])
def test_labels_that_cannot_be_used_are_refused_by_the_check_and_by_the_store(http, body):
    for answer in (http.post("/v1/labels/check", content=body), http.put("/v1/labels/bad", content=body)):
        wrong(answer, 413 if len(body) > 500_000 else 400)
    assert "bad" not in [one["name"] for one in http.get("/v1/labels").json()["labels"]]


def test_the_number_of_stored_sets_is_bounded(http):
    answers = [http.put(f"/v1/labels/set-{n}", content="a,b") for n in range(101)]
    assert [answer.status_code for answer in answers] == [200] * 100 + [400]
    assert "delete one" in answers[-1].json()["error"]["message"]
    for n in range(100):
        http.delete(f"/v1/labels/set-{n}")


def test_the_schema_describes_every_route(http):
    schema = http.get("/openapi.json").json()
    paths = {path for path in schema["paths"] if path.startswith(("/v1/jobs", "/v1/groups", "/v1/labels"))}
    assert len(paths) == 12
    for path in paths:
        for told in schema["paths"][path].values():
            assert told["description"], path
            assert set(told["responses"]) - {"422"}, path
    body = schema["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}
    assert "LabelSet" in json.dumps(body)
