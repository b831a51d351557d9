"""Two systems and another Celery app on the same Redis database: none sweeps the messages or hears the remote control
of another."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from golem_chain.broker.local import embedded
from golem_chain.broker.queues import STAGES
from tests.support.fleet import Fleet
from tests.support.paths import python_path
from tests.support.stock_box import make_app as stock_app


@pytest.fixture(scope="module")
def server(start_server) -> Iterator[embedded.Server]:
    with start_server() as running:
        yield running


@pytest.fixture
def stock(fleet: Fleet):
    """Starts a worker of another Celery app on the fleet's database; `names` are variables of its environment."""
    started = []

    def start(**names):
        env = {**os.environ, "PYTHONPATH": python_path(), **{name: str(value) for name, value in names.items()}}
        words = [sys.executable, "-m", "tests.support.stock_box", fleet.url, "stock"]
        started.append(subprocess.Popen(words, env=env, start_new_session=True))
        return started[-1]

    yield start
    for box in started:
        if box.poll() is None:
            os.killpg(box.pid, signal.SIGKILL)
        box.wait()


@pytest.mark.parametrize(
    ("our_lease_s", "our_task_s", "stock_lease_s", "stock_task_s"),
    [(5, 0.1, 3600, 8), (25, 8, 5, 0.1)],
    ids=["ours is shorter", "theirs is shorter"],
)
def test_a_task_longer_than_the_other_apps_lease_runs_once(
    fleet: Fleet, stock, our_lease_s, our_task_s, stock_lease_s, stock_task_s
) -> None:
    """In the second case we renew a lease every 8.3 s, after stock's lease of 5 s."""
    for name in ("first", "second"):  # the second is idle and would run what is put back too early
        fleet.box(name, lease_s=our_lease_s, SLOW_S=our_task_s)
    stock(STOCK_LEASE_S=stock_lease_s, BATCH_S=stock_task_s)
    app = stock_app(fleet.url)
    app.send_task("stock.scribe", args=("theirs",))
    fleet.until(lambda: fleet.log("batch", jobs=["theirs"]))
    fleet.submit(["slow"])
    fleet.done(["slow"])
    fleet.until(lambda: fleet.log("end", job="theirs"))
    app.close()
    time.sleep(1)  # time to start a second run
    assert len(fleet.log("batch", jobs=["theirs"])) == 1
    assert len(fleet.log("batch", stage="interpreter", jobs=["slow"])) == 1
    fleet.settled()
    assert not fleet.redis.exists("golem:dead")


@pytest.fixture
def other(fleet: Fleet, tmp_path) -> Iterator[Fleet]:
    """A second system on the fleet's database."""
    (tmp_path / "other").mkdir()
    made = Fleet(fleet.url, tmp_path / "other", prefix="other")
    yield made
    made.close()


def names(app) -> set[str]:
    """The workers that answer an app."""
    return {node.partition("@")[0] for answer in app.control.ping(timeout=2) for node in answer}


def test_each_system_and_app_on_a_database_runs_its_own_jobs_once_and_controls_its_own_workers(
    fleet: Fleet, other: Fleet, stock
) -> None:
    ours, theirs = fleet.box("box"), other.box("box")  # the same name: systems do not see each other's boxes
    foreign = stock(SYSTEM="stock")
    app = stock_app(fleet.url)
    for n in range(5):
        fleet.submit([f"a{n}"])
        other.submit([f"b{n}"])
        app.send_task("stock.scribe", args=(f"c{n}",))
    fleet.done(f"a{n}" for n in range(5))
    other.done(f"b{n}" for n in range(5))
    fleet.until(lambda: len(fleet.log("end", system="stock")) == 5)
    ran = Counter((event["system"], event["job"], event["stage"]) for event in fleet.log("end"))
    wanted = [(system, f"{letter}{n}") for system, letter in (("golem", "a"), ("other", "b")) for n in range(5)]
    assert ran == Counter(
        [(*one, stage) for one in wanted for stage in STAGES] + [("stock", f"c{n}", "scribe") for n in range(5)]
    )
    assert (names(fleet.app), names(other.app), names(app)) == ({"box"}, {"box"}, {"stock"})
    other.app.control.shutdown()
    assert theirs.wait(20) == 0
    assert (names(fleet.app), names(other.app), names(app)) == ({"box"}, set(), {"stock"})
    app.control.shutdown()
    assert foreign.wait(20) == 0
    assert names(fleet.app) == {"box"}
    assert ours.poll() is None
    app.close()
