"""The bundled chat model on typical utterances: one sentence in the first person, on topic, and no echo."""

from typing import Any

import pytest

from golem_chain.shared.errors import GolemError
from golem_chain.shared.labels import default_labels, parse_labels
from golem_chain.shared.records import Intent, OracleParams
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.oracle import engine as module

pytestmark = pytest.mark.models

SAID = {
    "Set a timer for 5 minutes.": ("timer_set", "timer"),
    "Please turn on the lights in the kitchen.": ("lights_on", "light"),
    "Turn the volume up, please!": ("volume_up", "volume"),
    "Mix these herbs into a healing potion.": ("alchemy", "potion"),
}
BARE = {
    "cancel pizza timer": ("HassCancelTimer", "timer"),
    "turn the fans off": ("HassTurnOff", "fans"),
    "skip the track on the TV": ("HassMediaNext", "track"),
    "Find the movie schedules.": ("SearchScreeningEvent", "movie"),
}


@pytest.fixture(scope="module")
def engine() -> module.Oracle:
    from golem_chain.workers.store.load import Weights
    from golem_chain.workers.store.manifest import find

    settings = Settings.read(_env_file=None)
    try:
        made = module.Oracle(Weights(find(settings, "oracle"), module.make), settings)
        made.load()
    except GolemError as exc:
        pytest.skip(exc.message)
    if not made.chat:
        pytest.skip("the store holds another oracle than the bundled one")
    return made


@pytest.mark.parametrize("said", [SAID, BARE], ids=["built-in prompts", "bare labels"])
def test_a_reply_is_one_sentence_about_what_was_asked(engine: module.Oracle, said: dict[str, tuple[str, str]]) -> None:
    labels = default_labels() if said is SAID else parse_labels(",".join(label for label, _ in said.values()))
    cues = [
        module.ReplyRequest(text, Intent(label=label, score=1, method="cosine"), labels, OracleParams(), seed)
        for text, (label, _) in said.items()
        for seed in (1, 2)
    ]
    prepared: list[Any] = [engine.prepare(cue) for cue in cues]
    replies: list[Any] = engine.run([one.item for one in prepared])
    for cue, reply in zip(cues, replies, strict=True):
        about = said[cue.text][1]
        assert reply.text.startswith("I am "), reply.text
        assert reply.text.endswith("."), reply.text
        assert about in reply.text.lower(), reply.text
        assert len(reply.text.split()) <= 20, reply.text
        assert cue.text not in reply.text, reply.text
