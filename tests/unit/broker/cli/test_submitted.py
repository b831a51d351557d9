"""The commands about jobs that were submitted: results, cancel and status of a group, next, jobs."""

import json
import time
from pathlib import Path

import pytest

from golem_chain.broker.cli.commands import submitted
from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Group
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.settings import Settings

keys = Keys()

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.fixture
def night(golem, redis, end):
    """A group of three jobs, of which b.wav and then bad.wav have ended; returns their ids by name."""
    Path("bad.wav").write_bytes(b"y")
    found = [
        json.loads(line)
        for line in golem("submit", "a.wav", "b.wav", "bad.wav", "--group", "night", "--json")[1].splitlines()
    ]
    ids = {one["name"]: one["job"] for one in found}
    for name in ("b.wav", "bad.wav"):
        end(Outcomes(Settings.read(), redis), ids[name], name)
    return ids


def names(out):
    return [json.loads(line)["name"] for line in out.splitlines()]


def test_results_of_a_group_come_in_the_order_of_their_ends_and_say_what_is_left(golem, night):
    code, out, err = golem("results", "--group", "night", "--json")
    assert (code, names(out)) == (1, ["b.wav", "bad.wav"])
    cursor = json.loads(out.splitlines()[-1])["cursor"]
    assert err.endswith(
        f"golem: 1 of 3 jobs have not ended yet: golem results --group night --wait --since {cursor}.\n"
    )
    code, out, _ = golem("results", "--group", "night")
    assert out.index("b.wav") < out.index("bad.wav")


def test_a_cursor_goes_on_after_its_line(golem, redis, night, end):
    _, out, _ = golem("results", "--group", "night", "--json")
    first, second = (json.loads(line)["cursor"] for line in out.splitlines())
    assert names(golem("results", "--group", "night", "--json", "--since", first)[1]) == ["bad.wav"]
    end(Outcomes(Settings.read(), redis), night["a.wav"], "a.wav")
    code, out, _ = golem("results", "--group", "night", "--wait", "--json", "--since", second)
    assert (code, names(out)) == (0, ["a.wav"])


@pytest.mark.parametrize(("cut", "code"), [(KeyboardInterrupt, 130), (BrokerAway("Redis is away."), 1)])
def test_a_wait_that_is_cut_says_how_to_go_on(golem, night, monkeypatch, cut, code):
    def watch(group, since, tick_s):
        yield from Group.ends(group, since)
        yield None
        raise cut

    monkeypatch.setattr(Group, "watch", watch)
    found, out, err = golem("results", "--group", "night", "--wait", "--json")
    cursor = json.loads(out.splitlines()[-1])["cursor"]
    assert (found, names(out)) == (code, ["b.wav", "bad.wav"])
    assert err.endswith(f" golem results --group night --wait --since {cursor}.\n")
    found, out, err = golem("results", "--group", "night", "--wait", "-f", "txt", "-o", "out")
    assert "--since" not in err, "no file was written"
    assert not Path("out").exists()


def test_files_of_a_group_are_written_for_the_ends_that_are_shown(golem, redis, night):
    code, _, err = golem("results", "--group", "night", "-f", "txt", "-o", "out")
    assert (code, [path.name for path in Path("out").iterdir()]) == (1, ["b.txt"])
    assert "Wrote out/b.txt." in err


def test_a_job_whose_outcome_has_expired_is_still_counted(golem, redis, night):
    redis.delete(f"golem:outcome:{night['b.wav']}")
    _, out, err = golem("results", "--group", "night", "--json")
    first, second = map(json.loads, out.splitlines())
    assert (first["job"], first["state"], set(first)) == (night["b.wav"], "done", {"job", "state", "cursor"})
    assert second["name"] == "bad.wav"
    assert "The Outcomes of 1 job are no longer kept" in err


def test_the_status_of_a_group_counts_stages_and_ends(golem, night):
    code, out, _ = golem("status", "--group", "night", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["group"], told["jobs"], told["done"], told["failed"]) == ("night", 3, 1, 1)
    assert told["at"] == {"scribe": 1, "interpreter": 0, "oracle": 0}
    assert "night: 3 jobs" in golem("status", "--group", "night")[1]


def test_a_group_is_cancelled_at_once_and_takes_no_further_job(golem, redis, night):
    code, _, err = golem("cancel", "--group", "night")
    assert (code, err) == (0, "golem: The group night is cancelled: 1 of 3 jobs had not ended.\n")
    code, out, err = golem("submit", "a.wav", "--group", "night")
    assert (code, out, err) == (1, "", "golem: The group night was cancelled: no job was submitted before.\n")
    assert "night (cancelled)" in golem("status", "--group", "night")[1]


def test_the_first_job_that_is_named_is_the_next_one(golem, redis, night):
    [later] = golem("submit", "b.wav")[1].split()
    code, _, err = golem("next", later, night["a.wav"])
    assert (code, err.count("is next")) == (0, 2)
    waiting = [one.decode() for one in redis.lrange(keys.lane("scribe", "interactive"), 0, -1)]
    assert [later in one for one in waiting] == [False, True], "taken from the right"
    code, _, err = golem("next", night["b.wav"])
    assert (code, err) == (1, f"golem: Job {night['b.wav']} had already ended.\n")


def test_jobs_are_listed_newest_first_in_pages(golem, redis, night, monkeypatch):
    monkeypatch.setattr(submitted, "PAGE", 2)
    code, out, err = golem("jobs")
    assert code == 0
    assert out.index("bad.wav") < out.index("b.wav", out.index("bad.wav") + 7)
    assert err == "golem: Older ones: golem jobs --page 2.\n"
    [last] = map(json.loads, golem("jobs", "--page", "2", "--json")[1].splitlines())
    assert (last["name"], last["state"], last["at"]) == ("a.wav", "waiting", "scribe")
    assert time.time() - last["submitted_at"] < 60
    assert golem("jobs", "--page", "3")[2] == "golem: There are no jobs on page 3.\n"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["results"], "Give either the ids of jobs or --group NAME."),
        (["results", "j", "--group", "night"], "Give either the ids of jobs or --group NAME."),
        (["results", "j", "--since", "1-0"], "--since goes on in a group: add --group NAME."),
        (["results", "--group", "night", "--since", "foo"], "'foo' is no cursor of a group"),
        (["results", "--group", "night", "-o", "out"], "--out needs a --format"),
        (["results", "--group", "nights"], "There is no group 'nights'"),
        (["results", "--group", "a b"], "--group 'a b' is no name of a group"),
        (["cancel", "--group", "nights"], "There is no group 'nights'"),
        (["cancel"], "Give either"),
        (["status", "--group", "nights"], "There is no group 'nights'"),
        (["next"], "JOB"),
        (["next", "nonesuch"], "There is no job 'nonesuch'"),
        (["jobs", "--page", "0"], "--page"),
        (["submit", "a.wav", "--group", ""], "--group '' is no name of a group"),
        (["submit", "a.wav", "--expires", "soon"], "--expires 'soon' is not a duration"),
        (["submit", "a.wav", "--expires", "0s"], "--expires"),
        (["submit", "a.wav", "--lane", "fast"], "fast"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(golem, redis, night, typed, why):
    code, out, err = golem(*typed)
    assert (code, out) == (2, "")
    assert why in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("typed", "lane"),
    [
        (["submit", "a.wav"], "bulk"),
        (["transcribe", "a.wav"], "bulk"),
        (["ask", "hello"], "interactive"),
        (["ask", "hello", "there"], "bulk"),
        (["reply", "hello", "--intent", "greet"], "interactive"),
        (["reply", "hello", "--intent", "greet", "--lane", "bulk"], "bulk"),
    ],
)
def test_a_single_text_is_interactive_and_the_rest_is_bulk(golem, redis, worker, typed, lane):
    assert golem(*typed)[0] == 0
    found = [json.loads(redis.hget(key, "job")) for key in redis.scan_iter("golem:job:*")]
    assert {job.get("lane", "bulk") for job in found} == {lane}
