"""The recipe for a fourth stage works: in a copy of the source tree, a herald is added after the oracle by editing only
the files that docs/architecture.md names; then a job runs through four stages."""

import filecmp
import json
import re
import signal
import subprocess
import sys

import pytest

from golem_chain.broker.local.process import die_with_parent
from tests.support.paths import ROOT
from tests.support.source_copy import copy_of_source, environment, lint

ENGINE = '''
"""The Herald: proclaims the reply."""

from dataclasses import dataclass

from golem_chain.shared.records import Proclamation
from golem_chain.workers.stages.stub import StubEngine


@dataclass
class Herald(StubEngine):
    """`str` → `Proclamation`, without a model."""

    name: str = "herald"

    def run(self, batch):
        super().run(batch)
        return [Proclamation(text=f"Hear ye: {reply}") for reply in batch]


def make(config):
    raise NotImplementedError
'''

WORKER = """
import sys

from golem_chain.shared.settings import Settings
from golem_chain.workers.child import tasks
from golem_chain.workers.stages.engines import ENGINES
from golem_chain.workers.devices.memory import CpuMemory
from golem_chain.workers.parent import worker
from golem_chain.workers.residency.manager import Residency
from tests.support.chain_worker import Interpreter, Oracle, Scribe

herald, _ = ENGINES["herald"]
engines = {"scribe": Scribe("scribe"), "interpreter": Interpreter("interpreter"), "oracle": Oracle("oracle")}


def build(on_event):
    return Residency(engines | {"herald": herald()}, CpuMemory(), on_event=on_event)


settings = Settings.read()
sys.exit(worker.start(settings, None, "test", register=lambda app: tasks.register(app, settings, build)))
"""

PRODUCER = """
import json

from golem_chain.broker.pipeline import Pipeline
from golem_chain.broker.queues import STAGES
from golem_chain.workers.store.catalog import PROFILES, profile_offer

with Pipeline() as pipeline:
    jobs = {words: pipeline.submit(words.encode(), labels="turn,stop") for words in ("turn it on", "silence")}
    ended = {outcome.job: outcome.model_dump(mode="json") for outcome in pipeline.wait(jobs.values(), 60)}
    print(json.dumps({
        "stages": STAGES,
        "outcomes": {words: ended.get(job) for words, job in jobs.items()},
        "passed": pipeline.progress(list(jobs.values())),
        "offers": [profile_offer(profile, stage).stage for profile in PROFILES for stage in STAGES],
    }))
"""


def recipe():
    """Return the files that the page says to edit, in its order."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    (section,) = re.findall(r"^### A stage\n(.+?)^### ", page, re.M | re.S)
    return [path.replace("<stage>", "herald") for path in re.findall(r"^\d+\. `([^`]+)`", section, re.M)]


def replaced(path, old, new, times=1):
    """Replace a text that occurs exactly `times` times in a file."""
    text = path.read_text()
    assert text.count(old) == times, f"{old!r} in {path}"
    path.write_text(text.replace(old, new))


def add_herald(copy):
    """Follow the recipe."""
    records = copy / "shared" / "records.py"
    record = 'class Proclamation(Record):\n    """What the Herald proclaims."""\n\n    text: str\n\n\n'
    field = "    reply: Reply | None = None\n"
    oracle = '    "oracle": Stage("reply", Reply),\n'
    replaced(records, "class StageRun(Record):", f"{record}class StageRun(Record):")
    replaced(records, field, f"{field}    proclamation: Proclamation | None = None\n", times=2)
    replaced(records, '"interpreter", "oracle"]', '"interpreter", "oracle", "herald"]')
    replaced(records, oracle, f'{oracle}    "herald": Stage("proclamation", Proclamation),\n')

    stage = copy / "workers" / "stages" / "herald"
    stage.mkdir()
    (stage / "__init__.py").write_text('"""The fourth stage."""\n')
    (stage / "engine.py").write_text(ENGINE.lstrip())

    requests = copy / "workers" / "child" / "requests.py"
    end = "        }\n        return builders[stage](handover)\n"
    vocabulary = "    def _vocabulary(self, job: Job)"
    made = "    def _said(self, handover: Handover) -> object:\n"
    made += '        return _needed(handover.reply, "herald", "reply").text'
    replaced(requests, end, f'            "herald": self._said,\n{end}')
    replaced(requests, vocabulary, f"{made}\n\n{vocabulary}")

    engines = copy / "workers" / "stages" / "engines.py"
    imported = "from golem_chain.workers.stages.interpreter import engine as interpreter\n"
    engine = '    "oracle": (oracle.Oracle, oracle.make),\n'
    replaced(engines, imported, f"from golem_chain.workers.stages.herald import engine as herald\n{imported}")
    replaced(engines, engine, f'{engine}    "herald": (herald.Herald, herald.make),\n')

    catalog = copy / "workers" / "store" / "catalog.py"
    text, profiles = re.subn(
        r'^(        "oracle": .+\n)', r'\1        "herald": Offer("herald", "town/crier", hub="town/crier"),\n',
        catalog.read_text(), flags=re.M,
    )  # fmt: skip
    assert profiles == 3
    catalog.write_text(text)


def changed(copy):
    """Return the files of the copy that are new or differ from the checkout."""
    found = set()
    for path in copy.rglob("*.py"):
        name = path.relative_to(copy)
        if not (ROOT / name).exists() or not filecmp.cmp(path, ROOT / name, shallow=False):
            found.add(str(name))
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the source tree with a herald."""
    made = copy_of_source(tmp_path_factory.mktemp("fourth"))
    add_herald(made)
    return made


@pytest.fixture(scope="module")
def told(copy, start_server, tmp_path_factory):
    """The output of a producer that ran two jobs through the copy."""
    folder = tmp_path_factory.mktemp("run")
    with start_server() as server, (folder / "worker.log").open("wb") as log:
        env = environment(copy, GOLEM_REDIS_URL=server.url, OMP_NUM_THREADS="1")
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=env,
            cwd=folder,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        try:
            done = subprocess.run(
                [sys.executable, "-c", PRODUCER], env=env, cwd=folder, capture_output=True, text=True, timeout=120
            )
        finally:
            worker.terminate()
            worker.wait(30)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert None not in told["outcomes"].values(), (folder / "worker.log").read_text()
    return told


def test_the_recipe_names_the_files_that_a_stage_touches_and_no_others(copy):
    assert changed(copy) == {*recipe(), "workers/stages/herald/__init__.py"}
    assert len(recipe()) <= 5


def test_a_fourth_stage_keeps_every_import_contract_and_is_held_to_them(copy):
    code, printed = lint(copy)
    assert code == 0, printed
    engine = copy / "workers" / "stages" / "herald" / "engine.py"
    before = engine.read_text()
    engine.write_text(f"{before}\nimport golem_chain.workers.stages.oracle.engine\n")
    code, printed = lint(copy)
    engine.write_text(before)
    assert code != 0
    assert "An engine imports no other engine, whatever stages are added BROKEN" in printed


def test_a_job_runs_through_four_stages(told):
    assert told["stages"] == ["scribe", "interpreter", "oracle", "herald"]
    outcome = told["outcomes"]["turn it on"]
    assert (outcome["state"], outcome["reply"]["text"]) == ("done", "turn: turn it on")
    assert outcome["proclamation"] == {"text": "Hear ye: turn: turn it on"}
    assert list(outcome["stages"]) == told["stages"]
    assert told["passed"] == dict.fromkeys(told["stages"], 2)


def test_silence_ends_before_the_fourth_stage(told):
    outcome = told["outcomes"]["silence"]
    assert (outcome["state"], outcome["intent"]["label"]) == ("done", "noise")
    assert outcome["proclamation"] is None


def test_every_profile_offers_a_model_for_the_fourth_stage(told):
    assert told["offers"] == told["stages"] * 3
