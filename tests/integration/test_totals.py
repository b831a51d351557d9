"""The totals: every submit and every end of a job counts once, and nothing that is done to them stops an end."""

import pytest

from golem_chain.broker.keys import Keys

keys = Keys()


def totals(chain):
    return {state.decode(): int(count) for state, count in chain.client.hgetall(keys.totals).items()}


def test_each_job_counts_once_and_its_end_in_its_state(chain):
    jobs = [chain.pipeline.submit(words, labels="a,b") for words in (b"one", b"two", b"silence", b"bad")]
    late = chain.pipeline.submit(b"sleep 30")
    assert chain.pipeline.cancel(late).state == chain.pipeline.cancel(late).state == "cancelled"
    chain.outcomes([*jobs, late])
    assert totals(chain) == {"submitted": 5, "done": 3, "failed": 1, "cancelled": 1}
    assert chain.client.ttl(keys.totals) == -1


def test_a_job_that_is_submitted_again_after_its_end_counts_no_second_one(chain):
    before = totals(chain)
    for _ in range(2):
        chain.outcomes([chain.pipeline.submit(b"again", labels="a,b", id="again")])
    assert totals(chain)["done"] == before["done"] + 1
    assert totals(chain)["submitted"] == before["submitted"] + 1


@pytest.mark.parametrize("forged", ["text", "not a number"])
def test_forged_totals_stop_no_end(chain, forged):
    chain.client.delete(keys.totals)
    if forged == "text":
        chain.client.set(keys.totals, "x")
    else:
        chain.client.hset(keys.totals, "done", "many")
    job = chain.pipeline.submit(b"one", labels="a,b")
    assert chain.outcomes([job])[job].state == "done"
    chain.client.delete(keys.totals)
