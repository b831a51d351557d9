"""The Scribe hears with packed weights what it hears with the weights that they stand for."""

from typing import Any

import pytest
import torch

from golem_chain.shared.vocabulary import parse_vocabulary
from golem_chain.workers.stages.scribe.engine import Recording, make
from golem_chain.workers.store.load import Weights
from tests.support import packed_models
from tests.support.sounds import hum
from tests.support.whisper_models import OFF, ready, scribe, whisper


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    packed_models.pack_all(monkeypatch)


def opened(tmp_path, held, bits, dtype=torch.float32, product=None):
    checkpoint = packed_models.stored("scribe", held, tmp_path / "store")
    return Weights(checkpoint, make, dtype=dtype, bits=bits, product=product or dtype)


def heard(held, **given: Any):
    engine = scribe(held, dtype="float32", guards="none", **OFF, **given)
    asked = [Recording(f"{n}.wav", hum(1 + 4 * n, n), "en") for n in range(2)]
    return [(one.text, [part.avg_logprob for part in one.segments]) for one in engine.run(ready(engine, *asked))]


@pytest.mark.parametrize(("bits", "given"), [(8, {}), (4, {"scribe_beam": 3})])
def test_a_packed_scribe_hears_what_its_unpacked_weights_hear(tmp_path, bits, given):
    held = whisper(tmp_path / "model", multilingual=True)
    weights = opened(tmp_path, held, bits)
    packed = heard(weights, **given)
    model: Any = weights.build().model
    assert model.proj_out.held() is model.model.decoder.embed_tokens.held()
    assert isinstance(model.model.decoder.embed_positions.weight, torch.nn.Parameter)
    plain = heard(packed_models.unpacked(weights, held), **given)
    assert [text for text, _ in packed] == [text for text, _ in plain]
    assert any(text for text, _ in packed)
    for (_, ours), (_, theirs) in zip(packed, plain, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-2)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_vocabulary_is_scored_with_packed_weights_too(tmp_path, bits):
    held = whisper(tmp_path / "model", multilingual=False)
    weights = opened(tmp_path, held, bits)

    def shares(held):
        engine = scribe(held, dtype="float32", guards="none", **OFF)
        asked = Recording("a.wav", hum(2), vocabulary=parse_vocabulary("on,off,stop"))
        (answer,) = engine.run(ready(engine, asked))
        assert answer.choice
        return [one.phrase for one in answer.choice.candidates], [one.posterior for one in answer.choice.candidates]

    (phrases, packed), (wanted, plain) = shares(weights), shares(packed_models.unpacked(weights, held))
    assert phrases == wanted
    assert packed == pytest.approx(plain, abs=1e-2)
