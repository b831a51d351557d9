"""The verdict on the bundled Scribe, confirmed on recordings that are not in the calibration set."""

from itertools import chain
from typing import Any

import pytest
import torch

from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.cpu import fast_at_bfloat16, read_flags
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.evaluation.datasets import read_clips
from golem_chain.workers.proof.candidates import REFERENCE
from golem_chain.workers.proof.criteria import Judgement
from golem_chain.workers.proof.own import Clip, Set
from golem_chain.workers.proof.trials import ScribeTrial, Trial
from golem_chain.workers.stages.scribe import engine as scribe
from golem_chain.workers.store.manifest import find
from golem_chain.workers.store.opened import weights_of
from tests.support.paths import DATA

pytestmark = [
    pytest.mark.models,
    pytest.mark.recordings,
    pytest.mark.timeout(900),  # 50 s of CPU time, which a busy machine may not give it sooner
    pytest.mark.skipif(not DATA.is_dir(), reason="the recordings in ../shared/data are missing"),
    pytest.mark.skipif(not fast_at_bfloat16(read_flags()), reason="this processor has no bfloat16 instructions"),
]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def compared(trial: Trial, form: Precision) -> Judgement:
    """What the proof's own criteria say of a form on all items of a trial."""
    settings = Settings.read(_env_file=None, models="bundled", device="cpu")
    try:
        checkpoint = find(settings, "scribe")
    except GolemError as exc:
        pytest.skip(f"{exc.message} (GOLEM_MODELS=bundled)")
    answers: dict[Precision, list[list[Any]]] = {}
    for one in (REFERENCE, form):
        engine = scribe.Scribe(weights_of(checkpoint, scribe.make, torch.device("cpu"), one), settings)
        engine.load()
        answers[one] = [trial.ask(engine, item, None) for item in trial.items]
        engine.unload()
    return trial.judge(list(chain(*answers[REFERENCE])), list(chain(*answers[form])))


def test_the_scribe_with_bfloat16_products_writes_what_float32_writes() -> None:
    said = [one for one in read_clips([DATA / "sentences"]) if one.language == "en" and one.text]
    clips = tuple(Clip(str(one.path), one.path, "en") for one in said)
    trial = ScribeTrial(Set(clips, (), ()), multilingual=False)
    judged = compared(trial, Precision("float32", None, "bfloat16"))
    assert not judged.failed, judged
