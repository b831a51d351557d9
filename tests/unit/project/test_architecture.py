"""The import contracts of pyproject.toml are effective: each violation planted in a copy of the source is reported."""

import subprocess
import sys
import tomllib

import pytest

from tests.support.paths import ROOT
from tests.support.source_copy import copy_of_source, lint

CONTRACTS = {
    contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the source tree that tests may modify."""
    return copy_of_source(tmp_path_factory.mktemp("copy"))


@pytest.fixture
def plant(copy):
    """Appends a line to a file of the copy; removed after the test."""
    touched = {}

    def append(name, line):
        path = copy / name
        touched[path] = path.read_text()
        path.write_text(f"{touched[path]}\n{line}\n")

    yield append
    for path, text in touched.items():
        path.write_text(text)


def broken(printed):
    """Return the contracts that were reported as broken."""
    return {name for name in CONTRACTS if f"{name} BROKEN" in printed}


def test_the_source_tree_keeps_every_contract(copy):
    code, printed = lint(copy)
    assert code == 0, printed
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in printed


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("broker/keys.py", "import golem_chain.workers.devices.cpu", "The folders depend on each other"),
        ("shared/sizes.py", "import golem_chain.broker.keys", "The folders depend on each other"),
        ("broker/pipeline.py", "import torch", "A producer needs no torch"),
        ("shared/text.py", "import redis", "Shared describes data"),
        ("broker/transport/qos.py", "import golem_chain.broker.pipeline", "The broker is layered"),
        ("broker/monitoring/status.py", "import golem_chain.broker.jobs.vault", "The broker is layered"),
        ("broker/webhooks/policy.py", "import golem_chain.broker.webhooks.sender", "Webhooks are layered"),
        ("broker/asynchronous/ends.py", "import golem_chain.broker.asynchronous.group", "The asyncio API is layered"),
        ("broker/asynchronous/ends.py", "import greenlet", "Greenlets are known to"),
        ("broker/listening/endpoint.py", "import golem_chain.broker.listening.listener", "Listening is layered"),
        ("broker/cli/follow/rows.py", "import golem_chain.broker.cli.follow.report", "Following jobs is layered"),
        ("broker/cli/arguments/options.py", "import golem_chain.broker.cli.main", "The command line is layered"),
        ("broker/doors/door.py", "import golem_chain.broker.doors.app", "The doors are layered"),
        (
            "broker/doors/lifecycle/greeting.py",
            "import golem_chain.broker.doors.lifecycle.ports",
            "What the server begins",
        ),
        ("broker/doors/wyoming/events.py", "import golem_chain.broker.doors.wyoming.connection", "Wyoming is layered"),
        ("broker/doors/jobs/paging.py", "import golem_chain.broker.doors.jobs.listing", "The jobs API is layered"),
        ("broker/pipeline.py", "import fastapi", "Web libraries are known"),
        (
            "broker/doors/openai/asked.py",
            "import golem_chain.broker.doors.openai.answers",
            "OpenAI's API is layered",
        ),
        (
            "broker/doors/wyoming/answers.py",
            "import golem_chain.broker.doors.wyoming.connection",
            "Wyoming is layered",
        ),
        (
            "broker/doors/intake/presence.py",
            "import golem_chain.broker.doors.intake.requests",
            "What comes in is layered",
        ),
        ("broker/listening/agreement.py", "import redis", "What a listener decides is pure"),
        ("workers/child/requests.py", "import golem_chain.workers.parent.worker", "A worker is layered"),
        ("workers/residency/eviction.py", "import golem_chain.workers.child.tasks", "A worker is layered"),
        ("workers/parent/worker.py", "import golem_chain.workers.devices.memory", "The parent touches no device"),
        ("workers/stages/oracle/prompts.py", "import golem_chain.workers.stages.scribe.guards", "The stages do not"),
        ("broker/pipeline.py", "import golem_chain.broker.watching.files", "The broker is layered"),
        ("broker/watching/files.py", "import golem_chain.broker.watching.journal", "A watched folder is layered"),
        (
            "workers/stages/oracle/engine.py",
            "import golem_chain.workers.stages.interpreter.engine",
            "An engine imports",
        ),
        (
            "workers/stages/scribe/audio/vad.py",
            "import golem_chain.workers.stages.scribe.transcribe",
            "The Scribe is layered",
        ),
        ("workers/proof/criteria.py", "import golem_chain.workers.proof.prove", "A proof is layered"),
        ("workers/proof/criteria.py", "import torch", "What passes is pure"),
        (
            "workers/stages/oracle/row.py",
            "import golem_chain.workers.stages.oracle.generation",
            "The Oracle is layered",
        ),
        (
            "workers/stages/oracle/decoder/cache.py",
            "import golem_chain.workers.stages.oracle.decoder.llama",
            "The Oracle's decoder is layered",
        ),
        ("workers/residency/manager.py", "from celery import Celery", "Models run without a queue"),
        ("workers/residency/manager.py", "from celery import Celery", "Celery is known to few"),
        ("workers/store/load.py", "import golem_chain.broker.queues", "Models run without a queue"),
        ("broker/jobs/records.py", "import celery", "Celery is known to few"),
        ("broker/jobs/records.py", "import kombu", "Kombu is known to"),
        ("broker/pipeline.py", "import billiard", "Celery's pool is known to"),
    ],
)
def test_a_planted_import_breaks_the_contract_that_forbids_it(copy, plant, file, line, rule):
    plant(file, line)
    code, printed = lint(copy)
    assert code != 0
    assert [name for name in broken(printed) if name.startswith(rule)], printed


def test_every_contract_is_tried_by_a_planted_import():
    (cases,) = test_a_planted_import_breaks_the_contract_that_forbids_it.pytestmark
    tried = {name for name in CONTRACTS for _, _, rule in cases.args[1] if name.startswith(rule)}
    assert tried == CONTRACTS


@pytest.mark.parametrize("package", ["broker", "workers"])
def test_a_new_module_has_to_take_its_place_in_the_layers(copy, package):
    new = copy / package / "elsewhere.py"
    new.write_text("")
    try:
        code, printed = lint(copy)
    finally:
        new.unlink()
    assert code != 0
    assert f"golem_chain.{package}.elsewhere" in printed


@pytest.mark.parametrize(
    "line",
    ["import shared", "from broker.queues import STAGES", "import workers.child", "from benchmarks import clock"],
)
def test_ruff_bans_the_bare_names_of_the_folders(line):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", "tests/bare.py", "-"],
        cwd=ROOT,
        input=f"{line}\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "TID251" in done.stdout
