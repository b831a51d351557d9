"""The verdicts on the bundled models, confirmed on recordings and texts that are not in the calibration set."""

from itertools import chain
from typing import Any, cast

import pytest
import torch

from golem_chain.shared.errors import GolemError
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.cpu import fast_at_bfloat16, read_flags
from golem_chain.workers.devices.precision import Precision
from golem_chain.workers.evaluation.datasets import read_clips, read_utterances, some
from golem_chain.workers.proof.candidates import REFERENCE
from golem_chain.workers.proof.criteria import Judgement
from golem_chain.workers.proof.own import Clip, Set, shipped
from golem_chain.workers.proof.replies import OracleTrial
from golem_chain.workers.proof.trials import ScribeTrial, Trial
from golem_chain.workers.stages.engines import ENGINES
from golem_chain.workers.store.manifest import find
from golem_chain.workers.store.opened import weights_of
from tests.support.paths import DATA

pytestmark = [
    pytest.mark.models,
    pytest.mark.recordings,
    pytest.mark.timeout(900),  # 50 s of CPU time each, which a busy machine may not give them sooner
    pytest.mark.skipif(not DATA.is_dir(), reason="the recordings and texts in ../shared/data are missing"),
    pytest.mark.skipif(not fast_at_bfloat16(read_flags()), reason="this processor has no bfloat16 instructions"),
]
#: Texts from each file: together some 770 tokens of replies.
TEXTS = 24


def compared(stage: str, trial: Trial, form: Precision) -> Judgement:
    """What the proof's own criteria say of a form on all items of a trial."""
    settings = Settings.read(_env_file=None, models="bundled", device="cpu")
    try:
        checkpoint = find(settings, stage)
    except GolemError as exc:
        pytest.skip(f"{exc.message} (GOLEM_MODELS=bundled)")
    answers: dict[Precision, list[list[Any]]] = {}
    for one in (REFERENCE, form):
        engine_of, make = ENGINES[stage]
        engine = engine_of(weights_of(checkpoint, make, torch.device("cpu"), one), settings)
        engine.load()
        there = answers.get(REFERENCE) or [cast(Any, None)] * len(trial.items)
        answers[one] = [trial.ask(engine, item, before) for item, before in zip(trial.items, there, strict=True)]
        trial.let_go()
        engine.unload()
    return trial.judge(list(chain(*answers[REFERENCE])), list(chain(*answers[form])))


def test_the_scribe_with_bfloat16_products_writes_what_float32_writes() -> None:
    said = [one for one in read_clips([DATA / "sentences"]) if one.language == "en" and one.text]
    clips = tuple(Clip(str(one.path), one.path, "en") for one in said)
    trial = ScribeTrial(Set(clips, (), ()), multilingual=False)
    judged = compared("scribe", trial, Precision("float32", None, "bfloat16"))
    assert not judged.failed, judged


def test_the_oracle_in_bfloat16_has_the_distributions_of_float32() -> None:
    files = read_utterances(DATA / "intents")
    chosen = [one for name in ("clinc150_a", "home_assistant_en", "snips") for one in some(files[name], TEXTS)]
    trial = OracleTrial(Set((), tuple((one.text, "en") for one in chosen), shipped().labels))
    judged = compared("oracle", trial, Precision("bfloat16"))
    assert not judged.failed, judged
