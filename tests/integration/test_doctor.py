"""`golem doctor` finds nothing wrong in a system that works."""

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import delivery, doctor

keys = Keys()


def test_no_invariant_looks_broken_while_jobs_run(chain):
    jobs = [chain.pipeline.submit(f"turn on lamp {n}".encode(), labels="lamp,door") for n in range(150)]
    readings = 0
    while readings < 5 or chain.pipeline.progress(jobs)["oracle"] < len(jobs):
        found = delivery.examine(chain.client, chain.settings.lease_s, keys)
        assert {one.state for one in found} == {"ok"}, found
        readings += 1
    chain.outcomes(jobs)
    states = {one.check: one.state for one in doctor.of_redis(chain.settings)}
    assert "wrong" not in states.values(), states
    assert states["workers"] == states["stages"] == states["models-agree"] == "ok"
