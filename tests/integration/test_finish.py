"""The states of a message and what moves it, on a real server: the table in `broker/transport/message.py`."""

import json

import pytest

from golem_chain.broker.jobs.outcomes import Outcomes
from golem_chain.broker.jobs.stages import Stages, Step
from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import message
from golem_chain.broker.transport.message import Lease, Taken
from golem_chain.shared.records import Outcome
from tests.support import takes
from tests.support.takes import BOX

KEYS = Keys()
BOOKS = (KEYS.unacked, KEYS.unacked_index, KEYS.holders, KEYS.deliveries, KEYS.crashes)
STEPS = {
    "publish": Step("publish", "interpreter", message.text("interpreter", "j"), answer={"transcript": '{"text":"hi"}'}),
    "end": Step("end", outcome=Outcome(job="j", name="j", state="done"), answer={"transcript": "{}"}),
    "nothing": Step("nothing"),
}


@pytest.fixture
def pipeline(settings):
    with Pipeline(settings) as made:
        yield made


@pytest.fixture
def stages(settings, client):
    return Stages(settings, client, Outcomes(settings, client))


def take(client, box=BOX, queue="scribe", deliveries=3):
    taken, _, _ = takes.take(client, queue, 1, deliveries=deliveries, box=box)
    return [takes.lease(one, box) for one in taken]


def state(client):
    """Where the messages of the job are."""
    queued = [stage for stage in STAGES for _ in range(client.llen(KEYS.queue(stage)))]
    return {
        "queued": queued,
        "in hand": client.hlen(KEYS.unacked),
        "dead": client.llen(KEYS.dead),
        "ended": client.exists(KEYS.outcome("j")),
    }


QUEUED = {"queued": ["scribe"], "in hand": 0, "dead": 0, "ended": 0}
IN_HAND = {"queued": [], "in hand": 1, "dead": 0, "ended": 0}
GONE = {"queued": [], "in hand": 0, "dead": 0, "ended": 0}


def test_a_message_is_queued_then_in_hand_then_finished(pipeline, stages, client):
    pipeline.submit(b"x", id="j")
    assert state(client) == QUEUED
    [lease] = take(client)
    assert state(client) == IN_HAND
    assert lease == Lease(lease.tag, BOX, 1)
    assert stages.finish(lease, "j", None, STEPS["publish"])
    assert state(client) == GONE | {"queued": ["interpreter"]}
    assert not client.exists(*BOOKS), "nothing is left of the booking"
    assert client.hget(KEYS.job("j"), "transcript") == b'{"text":"hi"}'
    [following] = take(client, queue="interpreter")
    assert stages.finish(following, "j", None, STEPS["end"])
    assert state(client) == GONE | {"ended": 1}


@pytest.mark.parametrize("follows", STEPS)
def test_a_step_is_done_once_however_often_it_is_repeated(pipeline, stages, client, follows):
    pipeline.submit(b"x", id="j")
    [lease] = take(client)
    assert [stages.finish(lease, "j", None, STEPS[follows]) for _ in range(3)] == [True, False, False]
    assert len(state(client)["queued"]) == (follows == "publish")


def moves(qos):
    """Every move that needs the lease of a message in hand."""
    return {
        "strike": lambda lease: qos.ack(lease.tag),
        "restore": lambda lease: qos.requeue(lease.tag, lease.delivery),
        "bury": lambda lease: qos.bury(lease.tag, "a test"),
    }


AFTER = {"strike": GONE, "restore": QUEUED, "bury": GONE | {"dead": 1}}


@pytest.mark.parametrize("move", AFTER)
def test_the_holder_of_a_lease_moves_its_message(pipeline, qos, client, move):
    pipeline.submit(b"x", id="j")
    [lease] = take(client)
    qos._state.took(lease.tag, lease.delivery)
    moves(qos)[move](lease)
    assert state(client) == AFTER[move]
    assert not qos._state.in_hand
    left = {KEYS.holders, KEYS.deliveries} if move == "restore" else set()
    assert {book for book in BOOKS if client.exists(book)} == left


@pytest.mark.parametrize("now", ["queued", "taken again", "other box"])
@pytest.mark.parametrize("move", [*AFTER, *STEPS, "renew"])
def test_who_lost_the_lease_moves_nothing(pipeline, stages, qos, client, move, now):
    pipeline.submit(b"x", id="j")
    [lease] = take(client)
    qos._state.took(lease.tag, lease.delivery)
    client.zadd(KEYS.unacked_index, {lease.tag: 1})
    qos._state.in_hand.clear()  # another worker's sweep
    qos.restore_visible()
    assert state(client) == QUEUED
    expected = QUEUED
    if now != "queued":
        [again] = take(client, BOX if now == "taken again" else "other@there")
        assert again.delivery == 2
        expected = IN_HAND
    client.zadd(KEYS.unacked_index, {lease.tag: 5}, xx=True)
    qos._state.took(lease.tag, lease.delivery)
    if move in STEPS:
        assert not stages.finish(lease, "j", None, STEPS[move])
    elif move == "renew":
        qos.renew()
        assert client.zscore(KEYS.unacked_index, lease.tag) in (5, None)
    else:
        moves(qos)[move](lease)
    assert state(client) == expected


@pytest.mark.parametrize("follows", STEPS)
def test_a_job_that_was_cancelled_meanwhile_keeps_its_outcome_and_goes_no_further(pipeline, stages, client, follows):
    pipeline.submit(b"x", id="j")
    [lease] = take(client)
    cancelled = pipeline.cancel("j")
    assert stages.finish(lease, "j", None, STEPS[follows])
    assert state(client) == GONE | {"ended": 1}
    assert pipeline.outcome("j") == cancelled
    assert not client.hexists(KEYS.job("j"), "transcript")


def test_a_job_that_nobody_submitted_gets_neither_message_nor_outcome(stages, client):
    client.lpush(KEYS.queue("scribe"), message.text("scribe", "j"))
    [lease] = take(client)
    assert stages.finish(lease, "j", None, STEPS["publish"])
    client.lpush(KEYS.queue("scribe"), message.text("scribe", "j"))
    [lease] = take(client)
    assert stages.finish(lease, "j", None, STEPS["end"])
    assert state(client) == GONE
    assert not client.exists(KEYS.job("j"))


def test_what_cannot_be_taken_or_is_taken_too_often_becomes_a_dead_letter(pipeline, client, qos):
    pipeline.submit(b"x", id="j")
    for count in (1, 2):
        [lease] = take(client, deliveries=2)
        assert lease.delivery == count
        qos._state.took(*lease[::2])
        qos.requeue(lease.tag, lease.delivery, error=f"failure {count}")
    assert take(client, deliveries=2) == []
    assert state(client) == GONE | {"dead": 1}
    letter = json.loads(client.lindex(KEYS.dead, 0))
    assert (letter["why"], letter["deliveries"], letter["error"]) == ("too-many-deliveries", 2, "failure 2")
    assert not client.exists(*BOOKS)


def test_a_message_that_goes_back_unharmed_counts_no_delivery_and_is_the_same_byte_for_byte(pipeline, client, qos):
    pipeline.submit(b"x", id="j")
    [raw] = client.lrange(KEYS.queue("scribe"), 0, -1)
    for _ in range(5):
        [lease] = take(client)
        assert lease.delivery == 1
        qos._state.took(*lease[::2])
        qos.requeue(lease.tag, lease.delivery, uncounted=True)
    assert client.lrange(KEYS.queue("scribe"), 0, -1) == [raw]


def test_a_copy_of_a_message_in_hand_is_dropped(pipeline, client):
    pipeline.submit(b"x", id="j")
    [raw] = client.lrange(KEYS.queue("scribe"), 0, -1)
    [lease] = take(client)
    client.lpush(KEYS.queue("scribe"), raw)
    assert take(client) == []
    assert client.hkeys(KEYS.unacked) == [lease.tag.encode()]
    assert state(client) == IN_HAND


def test_a_message_with_the_tag_of_another_in_hand_waits_and_those_behind_it_do_not(pipeline, client, stages):
    queue, wake = KEYS.queue("scribe"), KEYS.wake("scribe")
    pipeline.submit(b"x", id="j")
    [raw] = client.lrange(queue, 0, -1)
    forged = json.loads(message.text("scribe", "other"))
    forged["properties"]["delivery_tag"] = json.loads(raw)["properties"]["delivery_tag"]
    client.rpush(queue, json.dumps(forged))
    pipeline.submit(b"x", id="behind")
    [lease] = take(client)
    assert client.hget(KEYS.unacked, lease.tag).endswith(json.dumps(forged).encode())
    [behind] = take(client)
    assert behind.tag != lease.tag
    assert client.lrange(queue, 0, -1) == [raw]
    client.delete(wake)
    assert take(client) == []
    assert not client.exists(wake), "nobody is woken for a message that cannot be taken"
    assert stages.finish(lease, "other", None, STEPS["nothing"])
    assert [one.tag for one in take(client)] == [lease.tag]
    assert client.hget(KEYS.unacked, lease.tag).endswith(raw)
    assert not client.exists(KEYS.dead)


def test_a_worker_gets_the_checked_fields_of_a_message_and_nothing_else(client):
    told = json.loads(message.text("scribe", "j", retries=2, delay_s=3.5))
    told["headers"] |= {"expires": "2020-01-01", "callbacks": ["x"], "group": "g", "eta": "never", "id": "j.scribe"}
    told["body"] = "malice"
    sent_at = client.time()[0] - 12
    client.lpush(KEYS.queue("scribe"), json.dumps(told).replace('"@the server\'s time@"', str(sent_at)))
    [taken], _, _ = takes.take(client, "scribe")
    assert taken == Taken(taken.tag, "j.scribe", 1, 2, 3.5, taken.waited_s, False)
    assert 12 <= taken.waited_s < 60
    made = message.celery_message("scribe", taken, BOX, None)
    assert "malice" not in json.dumps(made)
    assert not {"expires", "callbacks", "group"} & set(made["headers"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "celery.backend_cleanup"},
        {"task": "golem.oracle"},
        {"id": "j.oracle"},
        {"id": "no stage"},
        {"id": f"{'x' * 65}.scribe"},
        {"id": ["j.scribe"]},
        {"id": "a b.scribe"},
    ],
)
def test_a_message_of_another_task_or_without_a_job_becomes_a_dead_letter(client, wrong):
    told = json.loads(message.text("scribe", "j"))
    told["headers"] |= wrong
    client.lpush(KEYS.queue("scribe"), json.dumps(told))
    assert take(client) == []
    assert state(client)["dead"] == 1


@pytest.mark.parametrize("number", ["NaN", "-1", "1e999", "1e300", '"3"', "[]", "true"])
def test_a_number_that_is_none_counts_as_zero(client, number):
    raw = message.text("scribe", "j", retries=2).replace('"retries": 2', f'"retries": {number}')
    client.lpush(KEYS.queue("scribe"), raw)
    [lease] = take(client)
    assert lease.delivery == 1
